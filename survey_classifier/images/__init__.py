"""Images that exist already, one a source, as stamps."""
