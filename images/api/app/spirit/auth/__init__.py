"""Who asks: accounts, passwords, tokens, sessions that can be ended, API keys, roles."""
