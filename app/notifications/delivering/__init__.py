"""How mail gets to the provider, once, and what the provider tells of it."""
