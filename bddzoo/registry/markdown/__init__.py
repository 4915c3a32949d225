"""Zoo documents in Markdown: reading their tables, importing them, rendering them again."""
