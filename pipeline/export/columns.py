"""The columns of the exported tables: name, type and meaning. The documentation and the Parquet files have them too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.processes import FIRST, PROCESSES
from pipeline.records import CLASS_FIELDS

ColumnType = Literal["text", "integer", "number", "boolean"]
Value = str | int | float | bool | None
Row = Mapping[str, Value]


@dataclass(frozen=True)
class Column:
    """A column of a table. Every cell can be empty (null)."""

    name: str
    type: ColumnType
    meaning: str


def _choices(field: str) -> str:
    return ", ".join(CLASS_FIELDS[field])


def _of_verdicts() -> list[Column]:
    made = []
    for process in (name for name in PROCESSES if name != FIRST):
        made += [
            Column(f"{process}_valid", "boolean", f"the verdict of the stage {process}"),
            Column(f"{process}_reason", "text", "the reason that it gave"),
        ]
    return made


PAPER_COLUMNS = (
    Column("paper_title", "text", "title of the paper"),
    Column("paper_authors", "text", "its authors"),
    Column("paper_year", "integer", "year in which it was published"),
    Column("paper_doi", "text", "its DOI, without https://doi.org/"),
    Column("paper_country", "text", "its country"),
    Column("paper_guessed", "text", "which of title, year and doi were guessed from the PDF"),
)

MENTION_COLUMNS = (
    Column("mention_id", "text", "identifies the row: a hash of document, page, place and name"),
    Column("document", "text", "path of the PDF in INPUT_DIR, without .pdf"),
    *PAPER_COLUMNS,
    Column("page", "integer", "page of the PDF, counted from 1"),
    Column("ocr", "boolean", "whether the text of the page was read by OCR, which makes mistakes"),
    Column("start", "integer", "offset of the name in the text of the page, in characters; empty if it is not there"),
    Column("end", "integer", "offset of the end of the name"),
    Column("grounding", "text", "how the name was found: exact, normalized, fuzzy or missing"),
    Column("raw_name", "text", "the name as printed"),
    Column("sentence", "text", "the sentence with the name, as printed"),
    Column("canonical_name", "text", "the name that all variants of the dataset share; empty for unnamed data"),
    Column("canonical_id", "text", "identifier in DATASET_REGISTRY or in the overrides, if there is one"),
    Column("canonical_reason", "text", "why it has this canonical name"),
    Column("harmonized_name", "text", "full name that the model gave, if the document has it"),
    Column("acronym", "text", "acronym of the dataset"),
    Column("producer", "text", "who produced or published the data"),
    Column("year", "text", "year or years of the data, as printed"),
    Column("data_type", "text", "kind of data, such as survey"),
    Column("geography", "text", "places that the data cover, as printed"),
    Column("countries", "text", "the countries among them where they are clear: ISO 3166-1 codes of three letters"),
    Column(
        "context",
        "text",
        f"role in the paper: {_choices('context')}; empty where the mention is invalid or nobody gave it",
    ),
    Column("specificity", "text", f"{_choices('specificity')}; empty where the mention is invalid or nobody gave it"),
    Column("relevance", "text", f"{_choices('relevance')}; empty where nobody gave it"),
    Column("valid", "boolean", "the last verdict: of a person, or else of the last stage; empty if there is none"),
    Column("invalid_reason", "text", "why it was rejected"),
    Column("note", "text", "what is uncertain about a valid mention"),
    *_of_verdicts(),
    Column("review_decision", "text", "decision of a person: accept, reject, edit or add"),
    Column("reviewer", "text", "the person"),
    Column("stage", "text", "the stage after which the row was exported; empty for a mention that a person added"),
    Column("model", "text", "model of this stage"),
    Column("prompt_sha256", "text", "hash of its prompt"),
    Column("cost_usd", "number", "what all stages of the document cost, divided by the number of its mentions"),
)

# The names of the Data Citation Corpus (fields of its version 4.1) are used where they mean the same.
DATASET_COLUMNS = (
    Column("id", "text", "identifies the row: a hash of document and dataset"),
    Column("document", "text", "path of the PDF in INPUT_DIR, without .pdf"),
    Column("publication", "text", "DOI of the paper (Data Citation Corpus)"),
    Column("publication_title", "text", "title of the paper"),
    Column("publishedDate", "text", "year in which the paper was published (Data Citation Corpus)"),
    Column("dataset", "text", "identifier of the dataset: DOI or accession number (Data Citation Corpus)"),
    Column("title", "text", "canonical name of the dataset, or its name as printed (Data Citation Corpus)"),
    Column("repository", "text", "producer or repository of the data (Data Citation Corpus)"),
    Column("source", "text", "always dataset-mentions (Data Citation Corpus: where the citation was found)"),
    Column("mentions", "integer", "number of mentions that are not rejected"),
    Column("pages", "text", "their pages, separated by commas"),
    Column("primary", "integer", "mentions with the context primary"),
    Column("supporting", "integer", "mentions with the context supporting"),
    Column("background", "integer", "mentions with the context background"),
    Column("used", "boolean", "whether the paper uses the data: a mention is primary or supporting"),
    Column(
        "countries", "text", "countries that the data cover where they are clear: ISO 3166-1 codes of three letters"
    ),
    Column("names", "text", "the different names as printed, separated by semicolons"),
    Column("first_sentence", "text", "the sentence of the first mention"),
)


def documented(columns: Sequence[Column]) -> str:
    """The columns as a Markdown table."""
    rows = [f"| `{one.name}` | {one.type} | {one.meaning} |" for one in columns]
    return "\n".join(["| column | type | meaning |", "|---|---|---|", *rows])
