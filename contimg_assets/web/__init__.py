"""A window onto the products in a browser: read-only pages, a JSON API and a Simple Cone Search, without a network."""
