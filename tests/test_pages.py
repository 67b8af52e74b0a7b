"""Page kinds that are not sent, languages, long pages in chunks, and the text around a page."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest
from conftest import Project
from hypothesis import example, given, settings
from hypothesis import strategies as st
from py3langid.langid import LanguageIdentifier
from server import Server

from pipeline.pdf.page_kinds import PageClassifier
from pipeline.records import Page, PageText
from pipeline.text.chunks import Chunking, chunks, cut
from pipeline.text.language import decide_languages, guess_language
from pipeline.text.tokens import count_tokens

PROSE = (
    "We follow the households of the Korvian Panel Survey from 2009 to 2017 and ask how their spending on food "
    "changed when the price of rice rose. Ten per cent more for rice means two per cent less for everything else.\n"
) * 3
ENTRIES = (
    "Abellan, M. T., & Orlov, K. (2011). Roads and rice in three valleys. Journal of Remote Places, 4(2), 1–19.\n"
    "Brandt, J. (1998). A census of wells: Counting what nobody owns. Northgate Press.\n"
    "Carver, L. P., Osei, D., & Lind, A. (2015). Prices at the mill gate. Korvian Review, 31, 88–104.\n"
) * 4
VANCOUVER = (
    "12. Mbeki AB, Stone CD. Household water in the dry season. J Water Stud. 2012;8:114–9.\n"
    "13. Ito K, Silva RM, Berg T. Wells and walks. Dry Lands. 2007;3(1):22–31.\n"
) * 5
CONTENTS = (
    "Contents\n1 Introduction . . . . . 1\n2 Data\n4\n2.1 The household survey . . . 6\n3 Results\n12\nReferences\n31\n"
)
TABLE = "Year Yield\n" + "".join(f"{year} 1.{year % 7}\n" for year in range(1960, 2015)) + "A. B. C.\n" * 9


def kinds(*pages: str) -> list[str | None]:
    classifier = PageClassifier()
    return [classifier.kind(page) for page in pages]


def test_references_are_recognised_from_their_heading_on() -> None:
    assert kinds(PROSE, f"References\n{ENTRIES}", ENTRIES) == [None, "references", "references"]
    assert kinds(f"17\n6. Bibliographie :\n{ENTRIES}") == ["references"]
    assert kinds(f"{PROSE}References\n{ENTRIES}", VANCOUVER) == [None, "references"], "text above the heading"


def test_pages_similar_to_references_are_text() -> None:
    assert kinds(ENTRIES) == [None], "a list without a heading is text"
    assert kinds(f"References\n{ENTRIES}", PROSE, ENTRIES) == ["references", None, None]
    assert kinds(f"References\n{ENTRIES}", f"{ENTRIES}\nAppendix A\n{PROSE}") == ["references", None]
    assert kinds(f"References\n{ENTRIES}", f"Table A1. Rain\n{TABLE}", TABLE) == ["references", None, None]
    assert kinds(f"References\n{PROSE}") == [None]


def test_tables_of_contents_are_recognised() -> None:
    assert kinds(CONTENTS, PROSE) == ["contents", None]
    more = "4 Discussion . . . . . 33\n4.1 Limits\n35\nAppendix . . . 41\n"
    assert kinds(CONTENTS, more, PROSE) == ["contents", "contents", None]
    assert kinds(f"Contents of the data\n{PROSE}", f"Contents\n{PROSE}") == [None, None]


def test_skipped_requests_and_lost_mentions(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the annotated pages: more than 5 % of the requests are saved, with less than 1 % of the mentions."""
    documents = defaultdict[str, list[dict[str, object]]](list)
    for line in (shared / "gold" / "rcc_pages.jsonl").read_bytes().splitlines():
        row = json.loads(line)
        documents[row["doc_id"]].append(row)
    asked = skipped = mentions = lost = 0
    for rows in documents.values():
        classifier = PageClassifier()
        for row in sorted(rows, key=lambda row: str(row["page"]).zfill(5)):
            found = len(row["mentions"])  # type: ignore[arg-type]
            is_skipped = classifier.kind(str(row["text"])) is not None
            asked, mentions = asked + bool(str(row["text"]).strip()), mentions + found
            skipped, lost = skipped + is_skipped, lost + found * is_skipped
    with capsys.disabled():
        print(f"\nskipped {skipped} of {asked} requests, with {lost} of {mentions} annotated mentions")
    assert skipped / asked > 0.05 and lost / mentions < 0.01


SENTENCES = {
    "en": "We use the data of the household panel, which has been collected every year in all parts of the country. ",
    "de": "Wir verwenden die Daten des Haushaltspanels, das seit vielen Jahren im ganzen Land erhoben wird. ",
    "fr": "Les données proviennent de l'enquête sur les ménages, menée chaque année dans toutes les régions. ",
    "es": "Los datos provienen de la encuesta de hogares que se realiza cada año en todas las regiones. ",
    "pt": "Os dados provêm do inquérito aos agregados familiares, que é realizado todos os anos em todas as regiões. ",
    "it": "I dati provengono dall'indagine sulle famiglie, che viene condotta ogni anno in tutte le regioni. ",
    "nl": "De gegevens komen uit het huishoudpanel, dat elk jaar in alle delen van het land wordt gehouden. ",
    "id": "Data berasal dari survei rumah tangga yang dilakukan setiap tahun di semua wilayah negara tersebut. ",
    "vi": "Dữ liệu được lấy từ cuộc điều tra hộ gia đình được thực hiện hàng năm ở tất cả các vùng của đất nước. ",
    "ru": "Мы используем данные обследования домохозяйств, которое проводится каждый год во всех районах. ",
    "ar": "نستخدم بيانات مسح الأسر المعيشية الذي يجرى كل عام في جميع مناطق البلاد ويشمل الريف والمدينة. ",
    "zh": "我们使用每年在全国各地区进行的住户调查数据,并将其与人口普查数据和农业普查数据进行比较和分析。",
}
# English pages that were taken for Nigerian Pidgin, Bikol and other languages: tables, names and figures.
ENGLISH_TABLES = (
    "Province Vientiane Luang Prabang Savannakhet Champasak Khammouane Bolikhamxay Salavan Sekong Attapeu Oudomxay\n",
    "HH No edu Primary Lower sec Upper sec Univ Male Female Total Rural Urban Poor Non-poor Lao-Tai Mon-Khmer\n",
    "Abia Adamawa Akwa Ibom Anambra Bauchi Bayelsa Benue Borno Delta Ebonyi Edo Ekiti Enugu Gombe Imo Jigawa Kaduna\n",
    "beta se p N obs R2 coef std err t stat lnwage educ exper expersq married black south urban iq kww meduc feduc\n",
)  # fmt: skip


def languages(*texts: str) -> list[str | None]:
    """The languages of the pages of one document."""
    pages = [Page(page=number, text=text, language=guess_language(text)) for number, text in enumerate(texts, start=1)]
    decide_languages(pages)
    return [page.language for page in pages]


@pytest.mark.parametrize("language", SENTENCES)
def test_language_of_a_page(language: str) -> None:
    assert guess_language(SENTENCES[language] * 5) == language


def test_language_is_that_of_the_document() -> None:
    english = SENTENCES["en"] * 20
    assert languages(*[english] * 5, *(table * 9 for table in ENGLISH_TABLES), "12", "") == ["en"] * 11
    for language, sentence in SENTENCES.items():
        found = languages(*[sentence * 20] * 4, *(table * 9 for table in ENGLISH_TABLES[:3]), "")
        assert found == [language] * 8


def test_page_that_is_clearly_in_another_language_keeps_it() -> None:
    english, german = SENTENCES["en"] * 20, SENTENCES["de"] * 20
    titles = (
        english[:700] + "Die Entwicklung der Löhne und Preise in den neuen Ländern seit der Wende. " * 8 + english[:700]
    )
    assert languages(english, german, titles, english) == ["en", "de", "en", "en"]


def test_table_of_figures_has_no_language() -> None:
    assert guess_language("12.3 45 -0.67 (1.2)\n" * 100) is None


def test_english_pages_save_the_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    classified: list[str] = []
    classify = LanguageIdentifier.classify

    def counted(self: LanguageIdentifier, text: str) -> tuple[str, float]:
        classified.append(text)
        return classify(self, text)

    monkeypatch.setattr(LanguageIdentifier, "classify", counted)
    table = "Province Vientiane 12.1 Luang Prabang 13.2 Savannakhet 8.0 Champasak 7.7\n" * 12
    assert [guess_language(text) for text in (PROSE * 8, PROSE, table + PROSE * 2)] == ["en"] * 3
    assert classified == []
    for language, sentence in SENTENCES.items():
        assert guess_language(sentence * 20) == language
    assert len(classified) == len(SENTENCES) - 1


# Natural prose with words that are English too: in, is, of, was, we, at, by, has, or, on, an, for.
NOT_ENGLISH = {
    "nl": "In dit onderzoek is gekeken naar de gevolgen van het beleid in de gemeente. We hebben in de periode van "
    "2010 tot 2015 gegevens verzameld van huishoudens op het platteland. Het is van belang te weten of de "
    "inkomens in deze jaren zijn gestegen, of dat er in de steden meer werk was. In het laatste hoofdstuk is "
    "beschreven of dat helpt.",
    "af": "In hierdie studie is daar gekyk na die gevolge van droogte op die inkomste van huishoudings in die Oos- "
    "Kaap. Die data is in 2012 versamel en daar was altesaam 1 400 huishoudings in die steekproef. Die vraag "
    "is of die pryse van mielies in die jare daarna gestyg het, en of dit die rede is waarom gesinne minder "
    "koop.",
    "da": "I denne undersøgelse har vi set på hvor mange af de unge der har fået et arbejde efter skolen. Vi har "
    "brugt tal for alle kommuner, og for hver af dem er der lavet en tabel. Det er ikke muligt at sige om der "
    "er en forskel på byerne og landet, men de fleste er enige om at der skal gøres mere for de unge.",
    "de": "In dieser Studie haben wir untersucht, wie sich die Einkommen an der Küste nach der Wende entwickelt "
    "haben. Man kann nicht sagen, was der Grund war, also haben wir an alle Orte geschrieben. Es war ein "
    "Fehler, an die Stadt zu denken, und so kam es, dass die Hälfte der Fragen ohne Antwort blieb.",
    "zh": (
        "我们使用 the Survey of Income and Program Participation 的数据来分析家庭收入与贫困的关系，并与其他国家的"
        "住户调查进行比较。"
    )
    * 6,
}


@pytest.mark.parametrize("language", NOT_ENGLISH)
def test_words_that_english_shares_make_no_page_english(language: str) -> None:
    assert guess_language(NOT_ENGLISH[language]) == language
    assert languages(*[NOT_ENGLISH[language] * 3] * 3) == [language] * 3


TEXTS = st.text(st.sampled_from("ab. \nÄ你🙂é!?"), max_size=400) | st.text(max_size=200)


@settings(deadline=None)  # the first count loads the tokenizer
@given(TEXTS, st.integers(1, 60))
@example("?a???.a", 2)  # together, the sentences have more tokens than their sum
def test_chunks_cover_the_page_and_none_is_too_long(text: str, max_tokens: int) -> None:
    spans = cut(text, "en", max_tokens)
    assert "".join(text[start:end] for start, end in spans) == text
    assert [start for start, _ in spans[1:]] == [end for _, end in spans[:-1]]
    longest = max(count_tokens(text[start:end]) for start, end in spans)
    single = max((count_tokens(char) for char in text), default=0)
    assert longest <= max(max_tokens, single)


def test_long_page_is_cut_at_sentence_ends() -> None:
    spans = cut(PROSE * 3, "en", 120)
    parts = [(PROSE * 3)[start:end] for start, end in spans]
    assert len(parts) == 5 and all(part.rstrip().endswith(".") for part in parts)


def test_chunk_has_the_text_around_it() -> None:
    shown = ("One two three.", "Four five.", "Six seven.")
    all_pages = [Page(page=number, text=words) for number, words in enumerate(shown, start=1)]
    text = PageText(source="a", file="a.pdf", sha256="", n_pages=3, pages=all_pages)
    around = [
        (chunk.before, chunk.text, chunk.after)
        for page in all_pages
        for chunk in chunks(text, page, Chunking(context_chars=7))
    ]
    assert around == [
        ("", "One two three.", "Four"), ("three.", "Four five.", "Six"), ("five.", "Six seven.", "")
    ]  # fmt: skip


def test_skipped_pages_are_not_sent_and_have_a_status(project: Project, server: Server) -> None:
    project.paper("a.pdf", PROSE, CONTENTS, f"References\n{ENTRIES}", "")
    project.run("run_batch.py --process all")
    status = {"1": "answered", "2": "skipped:contents", "3": "skipped:references", "4": "skipped:blank"}
    for process in ("extraction", "judge", "reasoning"):
        assert project.document(process, "a")["page_status"] == status
    asked = len(server.attempts)
    project.configure(SKIP_PAGES=["blank"])
    assert "2 requests for 2 pages" in project.run("run_batch.py --process extraction --wait")
    assert project.document("extraction", "a")["page_status"]["3"] == "answered"
    assert len(server.attempts) == asked + 2
    project.configure()
    project.run("run_batch.py --process extraction")
    assert project.document("extraction", "a")["page_status"] == status


def test_page_in_chunks_counts_as_one_page(project: Project, server: Server) -> None:
    project.configure(MAX_PAGE_TOKENS=100)
    sentence = "The Korvian Household Survey number {} asks two thousand families about the food that they buy. "
    project.paper("a.pdf", "".join(sentence.format(n) for n in range(1, 13)))
    project.run("run_batch.py --process extraction --wait")
    document = project.document("extraction", "a")
    assert document["usage"]["extraction"]["requests"] == len(server.attempts) == 3
    assert document["page_status"] == {"1": "answered"}
    datasets = [one for mention in document["pages"][0]["data_mentions"] for one in mention["datasets"]]
    assert len({one["start"] for one in datasets}) == len(datasets) >= 3, "each chunk has its own places"
    project.run("run_batch.py --process judge --wait")
    project.run("run_batch.py --process reasoning --wait")
    final = project.document("reasoning", "a")["pages"][0]
    verdicts = [one["verdicts"] for mention in final["data_mentions"] for one in mention["datasets"]]
    assert all(verdict.keys() == {"judge", "reasoning"} for verdict in verdicts)
    assert final["strategy"].count("\n\n") >= 2
    project.configure(MAX_PAGE_TOKENS=6000)
    project.run("run_batch.py --process extraction --wait --yes")
    assert project.document("extraction", "a")["usage"]["extraction"]["requests"] == 1
    assert "nothing to send (1 answered," in project.run("run_batch.py --process extraction")


def test_changed_settings_do_not_affect_submitted_requests(project: Project, server: Server) -> None:
    project.paper("a.pdf", PROSE, PROSE)
    project.run("run_batch.py --process extraction")
    project.configure(PAGE_CONTEXT_CHARS=200)
    project.run("retrieve_results.py --process extraction --wait")
    assert set(project.document("extraction", "a")["page_status"].values()) == {"answered"}
    printed = project.run("run_batch.py --process extraction --dry-run")
    assert "2 requests for pages that were asked before (MAX_PAGE_TOKENS or PAGE_CONTEXT_CHARS changed)" in printed


def test_earlier_answers_are_used_after_a_setting_is_changed_back(project: Project, server: Server) -> None:
    project.paper("a.pdf", PROSE, f"References\n{ENTRIES}")
    project.configure(SKIP_PAGES=["blank"])
    project.run("run_batch.py --process extraction")
    project.configure()
    project.run("retrieve_results.py --process extraction --wait")
    assert project.document("extraction", "a")["page_status"]["2"] == "answered", "asked before the change"
    project.run("run_batch.py --process extraction")
    assert project.document("extraction", "a")["page_status"]["2"] == "skipped:references"
    project.configure(SKIP_PAGES=["blank"])
    asked = len(server.attempts)
    project.run("run_batch.py --process extraction")
    assert project.document("extraction", "a")["page_status"]["2"] == "answered"
    assert len(server.attempts) == asked


def test_changed_settings_do_not_drop_chunks_when_results_are_imported(project: Project, server: Server) -> None:
    project.configure(MAX_PAGE_TOKENS=100)
    sentence = "The Korvian Household Survey number {} asks two thousand families about the food that they buy. "
    project.paper("a.pdf", "".join(sentence.format(n) for n in range(1, 13)))
    printed = project.run("run_batch.py --process extraction")
    assert "3 requests for 1 page of 1 document" in printed
    project.configure(MAX_PAGE_TOKENS=6000)
    (project.folder / "none.jsonl").write_text("")
    project.run(f"retrieve_results.py --process extraction --results {project.folder / 'none.jsonl'}", expect=3)
    project.run("retrieve_results.py --process extraction --wait")
    assert project.document("extraction", "a")["page_status"] == {"1": "answered"}
    assert len(server.attempts) == 3


def test_long_pages_of_figures_are_classified_quickly() -> None:
    """Patterns that backtrack over many lines would take minutes for these pages."""
    assert kinds("0.12\n" * 20_000, "\n" * 50_000, "1 2 3\n" * 20_000) == [None, None, None]
