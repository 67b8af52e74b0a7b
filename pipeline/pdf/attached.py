"""What a document has besides its pages: attached papers, and forms that only some viewers show.

Attached papers are reported and not read: a name inside a PDF must not decide about files and document ids here, and
papers in INPUT_DIR have all that a document needs (limits, passwords, changes, duplicates).
"""

from __future__ import annotations

import pymupdf

from pipeline.pdf.visible import CONTROL

MAX_NAMES, MAX_NAME = 3, 60  # of attached files: names that a remark lists, and characters of each


def document_remark(document: pymupdf.Document) -> str | None:
    """What the document has besides its pages: attached papers, or a form that only some viewers show."""
    remarks = [remark for remark in (_attached(document), _form(document)) if remark]
    return "; ".join(remarks) or None


def _attached(document: pymupdf.Document) -> str | None:
    """Attached PDFs, and all files of a portfolio, whose pages are only a cover."""
    names = [_file_name(document, name) for name in document.embfile_names()]
    is_portfolio = document.xref_get_key(document.pdf_catalog(), "Collection")[0] != "null"
    papers = [name for name in names if name.lower().endswith(".pdf")]
    shown = names if is_portfolio and len(papers) < len(names) else papers
    if not shown:
        return None
    kind = "PDF" if shown == papers else "file"
    listed = ", ".join(name[:MAX_NAME] for name in shown[:MAX_NAMES]) + (" …" if len(shown) > MAX_NAMES else "")
    plural, pronoun = ("s", "them") if len(shown) > 1 else ("", "it")
    verb = "are" if plural else "is"
    return (
        f"it contains {len(shown)} attached {kind}{plural} ({listed}), which {verb} not read: save {pronoun} to "
        "INPUT_DIR"
    )


def _file_name(document: pymupdf.Document, name: str) -> str:
    """The name of an attached file, without anything that could confuse a terminal."""
    info = document.embfile_info(name)
    shown = str(info.get("ufilename") or info.get("filename") or name)
    return CONTROL.sub("", shown.encode("utf-8", "replace").decode()).replace("\n", " ").replace("\t", " ")


def _form(document: pymupdf.Document) -> str | None:
    """An XFA form whose text is made by the viewer. Others have the same text in their pages."""
    catalog = document.pdf_catalog()
    if document.xref_get_key(catalog, "AcroForm/XFA")[0] == "null":
        return None
    is_drawn_by_viewer = document.xref_get_key(catalog, "NeedsRendering")[1] == "true"
    if not is_drawn_by_viewer and document.page_count == 1:
        is_drawn_by_viewer = "please wait" in document[0].get_text().lower()
    if not is_drawn_by_viewer:
        return None
    return "it is a form (XFA) whose text is not in its pages: open it in Adobe Reader and print it to a PDF"
