"""Tours: what they are, where they are kept, how clients ask for them and look on."""
