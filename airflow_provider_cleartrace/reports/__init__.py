"""Reports that people read: the files of a run become one page, a text, and a JSON of the figures."""
