"""The fleet's smoke test: a stranger's way through the service as it is deployed.

`python -m smoke --url https://HOST[:PORT] [--ca FILE | --insecure]`

One line for each check, exit code 0 if all hold and 1 if any does not. It needs nothing that the
image does not have, makes an account of its own and removes it again. The limit that it passes on
purpose is that of its own account at its own address, and stays below the limit of the address:
nobody else is locked out.
"""
