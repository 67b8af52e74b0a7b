"""PDFs to text: find papers, read their pages in worker processes, and classify pages."""
