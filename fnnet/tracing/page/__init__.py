"""A trace as one HTML page: its markup, style and script, and what fills them."""
