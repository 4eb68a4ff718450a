"""What the documentation is made of beside its pages: see ``mkdocs.yml``."""
