"""The Spirit Tours API."""
