"""What a person sees on a page that its text does not have: pictures, scans, letters in unknown codes.

Whatever can be seen is never called blank. Most pages have plain text, so everything here is looked at only where the
text is short or has unknown codes.
"""

from __future__ import annotations

import re

import pymupdf

# Control characters carry no text and disturb terminals and logs. Where a font does not say which letters its codes
# mean, MuPDF gives control characters, codes for private use, or replacement characters.
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNMAPPED = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufffd\ue000-\uf8ff]")
_SPACE = re.compile(r"\s+")

MIN_UNMAPPED, MIN_UNMAPPED_SHARE = 20, 0.02  # characters in unknown codes; formulas and bullets have fewer
UNREADABLE = 0.2  # share of characters in unknown codes from which on a page has no text to ask about
STAMP = 200  # letters; the note of an archive on a scan has fewer, and a page of text has more
SCAN = 0.7  # share of the page that a scan covers
PAGE_NUMBER = 30  # letters; a page with fewer and many shapes is drawn, its letters included
MIN_SHAPES = 200  # on a page whose letters are drawn as shapes
MAX_SHADE = 8  # of 255, between the lightest and the darkest point of a page on which nothing can be seen
PREVIEW = 400  # pixels of the longer side of a page that is looked at


def unmapped_letters(text: str) -> int:
    """How many characters of a page are in unknown codes, if they are more than formulas and bullets have."""
    found = len(_UNMAPPED.findall(text))
    return found if found >= max(MIN_UNMAPPED, MIN_UNMAPPED_SHARE * len(text)) else 0


def n_letters(text: str) -> int:
    """The number of characters that are not white space."""
    return len(_SPACE.sub("", text))


def shows_something(page: pymupdf.Page) -> bool:
    """Whether anything can be seen on a page without text."""
    if any("image" in kind or "imgmask" in kind or "shade" in kind for kind, _ in page.get_bboxlog()):
        return True
    longer = max(page.rect.width, page.rect.height, 1.0)
    zoom = min(PREVIEW / longer, 1.0)
    preview = page.get_pixmap(matrix=pymupdf.Matrix(zoom, zoom), colorspace=pymupdf.csGRAY, alpha=False)
    return max(preview.samples) - min(preview.samples) > MAX_SHADE


def is_picture(page: pymupdf.Page, text: str) -> bool:
    """Whether a page with so little text is a scan with a stamp, or has its letters drawn as shapes."""
    if len(text) >= 2 * STAMP or (letters := n_letters(text)) >= STAMP:
        return False
    painted = page.get_bboxlog()
    area = abs(page.rect) or 1.0
    pictures = (abs(pymupdf.Rect(box) & page.rect) for kind, box in painted if "image" in kind or "imgmask" in kind)
    if sum(pictures) >= SCAN * area:
        return True
    return letters < PAGE_NUMBER and sum("path" in kind for kind, _ in painted) >= MIN_SHAPES
