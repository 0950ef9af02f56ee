"""The one place that names the version of the service.

`/health` answers with it, so changing this line is the smallest change that a client can see.
"""

VERSION = "1.0.0"
