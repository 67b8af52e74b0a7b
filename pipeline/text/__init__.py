"""Text of pages: finding quotations, sentences, languages, chunks, token counts."""
