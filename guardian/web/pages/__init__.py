"""The pages: each reads what it shows from the sources, and hands a view to its templates."""
