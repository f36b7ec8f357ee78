"""Every key a configuration may hold: type, default, meaning, range."""
