"""Numbers about the business, for admins and their programs."""
