"""Pictures and HTML pages of results."""
