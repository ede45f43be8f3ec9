"""A report as one page, as Markdown and in plots."""
