"""PDFs in: discovery, page text, and the place of a quotation in it."""
