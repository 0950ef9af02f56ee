"""Certificates from an ACME server, kept where the proxy finds them.

    settings  what to ask for, of whom
    volume    where certificates lie, and how one is put in place
    order     the certificate that is there, and whether another one is due
    client    one run of Certbot
    status    what happened, for people and for monitoring
"""
