"""What surrounds the program: pasted keys, files of other editors, proxies, certificates, and the end of a model."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.util import find_spec
from pathlib import Path

import httpx2
import openai
import pytest
from conftest import Project
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from server import Reply, Request, Server
from test_cli_errors import one_sentence

from pipeline import load_config
from pipeline.batches.session import Session
from pipeline.batches.submit import write_batch_ids
from pipeline.clock import SYSTEM_CLOCK
from pipeline.config import OPENAI_URL, Config
from pipeline.errors import ConfigError, PipelineError
from pipeline.providers.openai import OpenAIProvider, make_client
from pipeline.workspace import Workspace

EXTRACT = "run_batch.py --process extraction"
PAGE = "We use the Korvian Household Survey (KHS) here."
KEYS = ("OPENAI_API_KEY", "OPENALEX_API_KEY")
UNSENDABLE = ("sk-te…st", "“sk-test”", "‘sk-test’", "sk—test", "sk-tést", "sk-te\tst", "sk-te st", "sk-te\nst",
              "sk-te\x07st", "sk-test\u200b", "\ufeffsk-test", "Bearer sk-test", "\udcffsk-test",
              "\u0441k-test")  # fmt: skip
FUZZED = settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def paper(project: Project) -> Project:
    project.paper("a.pdf", PAGE)
    return project


@pytest.fixture
def without_key(paper: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.delenv("OPENAI_API_KEY")
    return paper


def env_file(folder: Path, content: str | bytes, encoding: str = "utf-8") -> None:
    (folder / ".env").write_bytes(content if isinstance(content, bytes) else content.encode(encoding))


# Keys


@pytest.mark.parametrize("pattern", ["{} ", " {}", "{}\n", "{}\r\n", "\t{}\u00a0", '"{}"', "'{}'", ' "{} "\n'])
def test_what_was_pasted_around_a_key_is_ignored(
    paper: Project, server: Server, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", pattern.format(server.key))
    assert "sent 1 request" in paper.run(EXTRACT)
    assert load_config(paper.folder / "config.yaml")["OPENAI_API_KEY"] == server.key


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("key", UNSENDABLE)
def test_a_key_that_cannot_be_sent(paper: Project, monkeypatch: pytest.MonkeyPatch, name: str, key: str) -> None:
    monkeypatch.setenv(name, key)
    error = one_sentence(paper.run(EXTRACT, expect=1))
    assert f"{name} (from environment)" in error and "U+" in error and "copy the whole key" in error
    assert key not in error and "sk-te" not in error


def test_the_character_of_a_wrong_key_is_named(without_key: Project) -> None:
    env_file(without_key.folder, "OPENAI_API_KEY=sk-1…9\n")
    error = one_sentence(without_key.run(EXTRACT, expect=1))
    assert "OPENAI_API_KEY (from .env)" in error and "character 5 is U+2026 (horizontal ellipsis)" in error


@pytest.mark.parametrize("blank", [" ", "\t", "\n", '""', "' '", " \r\n"])
def test_a_blank_key_is_not_set(paper: Project, monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", blank)
    assert "error: OPENAI_API_KEY is not set: put it in " in paper.run(EXTRACT, expect=1)


def test_a_blank_variable_does_not_hide_the_key_in_dotenv(
    paper: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    env_file(paper.folder, f"OPENAI_API_KEY={server.key}\n")
    assert "sent 1 request" in paper.run(EXTRACT)


@pytest.mark.parametrize("name", ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID"])
@pytest.mark.parametrize("value", ["org-…", "“org-1”", "org-1\n"])
def test_ids_that_the_client_sends_as_well(
    paper: Project, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    error = one_sentence(paper.run(EXTRACT, expect=1))
    assert name in error and "U+" in error


def test_headers_that_the_client_sends_as_well(paper: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: …")
    assert "OPENAI_CUSTOM_HEADERS" in one_sentence(paper.run(EXTRACT, expect=1))


@pytest.mark.parametrize(
    ("name", "value"),
    [("MODEL", "gpt\udcff"), ("MODEL", "{extraction: gpt\udcff}"), ("PROVIDER", "\udce9"), ("PREFILTER", "\udce9")],
)
def test_bytes_in_a_variable_that_are_not_utf8(
    paper: Project, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert f"The value of {name} contains bytes that are not UTF-8" in one_sentence(paper.run(EXTRACT, expect=1))


@pytest.mark.parametrize("key", ["e", "x", "of"])
def test_a_short_key_does_not_garble_messages(
    paper: Project, server: Server, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """Servers of one's own accept such keys."""
    server.key = key
    monkeypatch.setenv("OPENAI_API_KEY", key)
    server.models.clear()
    error = one_sentence(paper.run(EXTRACT, expect=1))
    assert "***" not in error and "does not serve the model" in error


def test_a_key_is_hidden_only_in_what_the_server_said(
    paper: Project, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.key = "model"
    monkeypatch.setenv("OPENAI_API_KEY", server.key)
    server.models.clear()
    error = one_sentence(paper.run(EXTRACT, expect=1))
    assert "does not serve the model: set another MODEL" in error and "The *** `gpt-4o-mini` does not exist" in error


@FUZZED
@given(key=st.text(min_size=1, max_size=30))
@example(key="sk-test…")
@example(key="\r\n")
def test_any_text_as_key_is_sent_or_explained(key: str) -> None:
    """A key that was accepted can be put into a header. One that was not is not in the message."""
    marked = f"sk-fuzzed-8d1c77{key}"
    try:
        config = Config.model_validate({"OPENAI_API_KEY": marked})
    except ValueError as error:
        assert "U+" in str(error) and "sk-fuzzed" not in str(error)
        return
    assert config.openai_api_key and config.openai_api_key in marked
    assert httpx2.Headers({"Authorization": f"Bearer {config.openai_api_key}"})


@FUZZED
@given(rest=st.text(min_size=1, max_size=12).filter(lambda text: "\0" not in text))
@example(rest="…")
def test_any_text_in_a_key_never_ends_in_a_traceback(without_key: Project, rest: str) -> None:
    """`command` asserts that there is no traceback. The server refuses what can be sent."""
    marker = "sk-fuzzed-8d1c77"
    os.environ["OPENAI_API_KEY"] = marker + rest.encode("utf-8", "replace").decode()
    try:
        status, printed = without_key.command(EXTRACT)
    finally:
        del os.environ["OPENAI_API_KEY"]
    assert marker not in printed
    assert status == 1 and "OPENAI_API_KEY" in one_sentence(printed)


# Files of other editors


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be-with-mark"])
def test_settings_saved_on_windows(without_key: Project, server: Server, encoding: str) -> None:
    def saved(text: str) -> bytes:
        text = text.replace("\n", "\r\n")
        return ("\ufeff" + text).encode("utf-16-be") if encoding == "utf-16-be-with-mark" else text.encode(encoding)

    config = without_key.folder / "config.yaml"
    config.write_bytes(saved(config.read_text() + "# Größe\n"))
    env_file(without_key.folder, saved(f"OPENAI_API_KEY={server.key}\n# Schlüssel\n"))
    assert "sent 1 request" in without_key.run(EXTRACT)


@pytest.mark.parametrize("name", [".env", "config.yaml"])
@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le", "utf-32"])
def test_an_encoding_that_cannot_be_recognized(without_key: Project, name: str, encoding: str) -> None:
    file = without_key.folder / name
    file.write_bytes("# Schlüssel\nOPENAI_API_KEY=sk-marker-31\n".encode(encoding))
    printed = without_key.run(EXTRACT, expect=1)
    assert str(file) in one_sentence(printed) and "save it in the encoding UTF-8" in printed
    assert "sk-marker" not in printed


def test_the_line_of_a_wrong_byte_is_named(without_key: Project) -> None:
    env_file(without_key.folder, b"A=1\nOPENAI_API_KEY=sk-test\nB=\xe9\n")
    assert "byte 0xe9 in line 3" in one_sentence(without_key.run(EXTRACT, expect=1))


def test_a_folder_named_dotenv_is_ignored(paper: Project) -> None:
    """Some people give this name to a virtual environment."""
    (paper.folder / ".env").mkdir()
    assert "sent 1 request" in paper.run(EXTRACT)


@FUZZED
@given(content=st.binary(max_size=60) | st.text(max_size=40).map(lambda text: b"OPENAI_API_KEY=" + text.encode()))
@example(content=b"\xff\xfeO")
@example(content=b"\xff\xfe\x00\x00")
@example(content=b"OPENAI_API_KEY=\xe2\x80")
def test_any_bytes_as_settings(tmp_path: Path, content: bytes) -> None:
    for name in (".env", "config.yaml"):
        (tmp_path / "config.yaml").write_bytes(b"")
        (tmp_path / ".env").write_bytes(b"")
        (tmp_path / name).write_bytes(content)
        try:
            load_config(tmp_path / "config.yaml")
        except ConfigError as error:
            assert "\n" not in str(error).strip() or name == "config.yaml"


@pytest.mark.parametrize("text", ["MODEL: 2026-99-99\n", "? {}\n: {}\n", "[" * 5000, "MODEL: \x07\n"])
def test_yaml_that_the_parser_has_no_error_for(project: Project, text: str) -> None:
    (project.folder / "config.yaml").write_text(text)
    assert "config.yaml" in one_sentence(project.run(EXTRACT, expect=1))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("added", [b"", b"\xff\xfe\xe9\n", b"\0\0\n", b"\xe9"])
def test_a_list_of_batches_in_another_encoding(project: Project, server: Server, encoding: str, added: bytes) -> None:
    project.paper("a.pdf", PAGE)
    project.run(EXTRACT)
    file = Workspace(project.output).batch_ids("extraction")
    file.write_bytes(file.read_text().encode(encoding) + added)
    saved = file.read_bytes()
    project.paper("b.pdf", "We use the Korvian Wage Survey here.")
    project.run(EXTRACT)
    project.run("retrieve_results.py --process extraction --wait")
    new = list(server.batches)[-1]
    assert file.read_bytes().startswith(saved) and new.encode() in file.read_bytes()
    # Nothing is added again and again.
    before = file.read_bytes()
    with Session(load_config(project.folder / "config.yaml"), "test", SYSTEM_CLOCK) as session:
        write_batch_ids(session.stage_run("extraction"))
    assert file.read_bytes() == before


@FUZZED
@given(content=st.binary(max_size=40))
def test_any_bytes_as_list_of_batches(tmp_path: Path, content: bytes) -> None:
    workspace = Workspace(tmp_path)
    workspace.batch_ids("judge").write_bytes(content)
    assert all(name.isascii() and name for name in workspace.listed_batches("judge"))


# Misspelled keys


@pytest.mark.parametrize(
    ("written", "meant"),
    [("OPENAI_APIKEY", "OPENAI_API_KEY"), ("OPENAI_API_KY", "OPENAI_API_KEY"), ("openai_api_key", "OPENAI_API_KEY"),
     ("OPENAI_KEY", "OPENAI_API_KEY"), ("OPENAI_API_KEYS", "OPENAI_API_KEY"), ("OPEN_AI_API_KEY", "OPENAI_API_KEY"),
     ("OPANAI_AIP_KEY", "OPENAI_API_KEY"), ("OPENALEX_APIKEY", "OPENALEX_API_KEY"), ("MODLE", "MODEL"),
     ("PDF_PASSWORD", "PDF_PASSWORDS"), ("OPENAI_URL", "OPENAI_BASE_URL")],
)  # fmt: skip
def test_a_misspelled_key_in_dotenv_is_reported(paper: Project, written: str, meant: str) -> None:
    env_file(paper.folder, f"{written}=sk-secret-5520\n")
    printed = paper.run(EXTRACT)
    warnings = [line for line in printed.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1, printed
    assert f"'{written}': did you mean {meant}?" in warnings[0] and ".env" in warnings[0]
    assert "sk-secret" not in printed


def test_keys_of_other_programs_are_silent(paper: Project) -> None:
    others = ("AWS_REGION", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "DEBUG", "PATH", "AZURE_OPENAI_API_KEY", "BASE_URL",
              "ANTHROPIC_API_KEY", "OPENROUTER_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "DATABASE_URL", "PORT",
              "OPENAI_API_TYPE", "API_KEY", "SECRET_KEY", "NODE_ENV", "LOG_LEVEL", "TZ", "LANG")  # fmt: skip
    env_file(paper.folder, "".join(f"{name}=1\n" for name in others))
    assert "did you mean" not in paper.run(EXTRACT)


def test_a_misspelled_secret_in_config_yaml(project: Project) -> None:
    (project.folder / "config.yaml").write_text("OPENAI_APIKEY: sk-secret-5520\n")
    error = one_sentence(project.run(EXTRACT, expect=1))
    assert "did you mean OPENAI_API_KEY? That belongs in .env." in error and "sk-secret" not in error


# URLs of servers


@pytest.mark.parametrize(
    "url", ["https://api.openai.com", "https://api.openai.com/", " https://API.openai.com/v1/ ", '"https://api.openai.com/v1"']
)  # fmt: skip
def test_the_url_of_openai_may_lack_its_path(project: Project, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    assert load_config(project.folder / "config.yaml").openai_base_url.lower() == OPENAI_URL


def not_found(request: Request) -> Reply:
    return Reply(404, {"detail": "Not Found"})


def web_page(request: Request) -> Reply:
    return Reply(200, b"<html>Welcome</html>", {"content-type": "text/html"})


@pytest.mark.parametrize("answer", [not_found, web_page])
def test_a_url_without_a_path(
    paper: Project, server: Server, monkeypatch: pytest.MonkeyPatch, answer: Callable[[Request], Reply]
) -> None:
    server.before_request = lambda request: None if request.path.startswith("/v1/") else answer(request)
    monkeypatch.setenv("OPENAI_BASE_URL", server.url.removesuffix("/v1") + "/")
    assert f"usually ends in /v1: set OPENAI_BASE_URL to {server.url}" in one_sentence(paper.run(EXTRACT, expect=1))
    # With the right URL the same command sends everything.
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    assert "sent 1 request in 1 batch" in paper.run(EXTRACT)


@pytest.mark.parametrize("name", ["OPENAI_BASE_URL", "LOCAL_BASE_URL", "OPENALEX_URL"])
@pytest.mark.parametrize(
    "url", ["api.openai.com/v1", "ftp://a.b", "http://", "http://[::1", "http://a:port/v1", "http://a b/v1", "“http://a/v1”"]
)  # fmt: skip
def test_what_is_no_url(paper: Project, monkeypatch: pytest.MonkeyPatch, name: str, url: str) -> None:
    monkeypatch.setenv(name, url)
    assert f"{name} (from environment)" in one_sentence(paper.run(EXTRACT, expect=1))


def test_a_password_in_an_invalid_url_is_not_shown(paper: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:sk-other-9d1f@[::1")
    assert "sk-other" not in one_sentence(paper.run(EXTRACT, expect=1))


# Proxies


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("ALL_PROXY", "socks5://127.0.0.1:9", "pip install socksio"), ("all_proxy", "socks5h://u:pw-7f@h:1", "socksio"),
     ("ALL_PROXY", "socks://127.0.0.1:9/", "socks:// is not supported"), ("HTTP_PROXY", "ftp://u:pw-7f@h", "ftp://"),
     ("HTTPS_PROXY", "http://h:port", "URL is invalid"), ("http_proxy", "http://[::1", "URL is invalid")],
)  # fmt: skip
@pytest.mark.parametrize("provider", ["openai", "local"])
def test_a_proxy_that_cannot_be_used(
    paper: Project, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str, provider: str
) -> None:
    if "socksio" in said and find_spec("socksio"):
        pytest.skip("socksio is installed")
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://models.example/v1")
    paper.configure(PROVIDER=provider, LOCAL_BASE_URL="http://models.example/v1")
    error = one_sentence(paper.run(EXTRACT, expect=1))
    assert f"The proxy in {name} cannot be used" in error and said in error and "pw-7f" not in error


def test_a_proxy_that_does_not_respond_is_named(paper: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://models.example/v1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert "through the proxy in HTTP_PROXY" in one_sentence(paper.run(EXTRACT, expect=1))


# Text that cannot be in an environment variable is left out.
PROXIES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20)


@FUZZED
@given(value=PROXIES | PROXIES.map("http://".__add__) | PROXIES.map("socks5://u:".__add__))
def test_any_text_as_proxy(value: str) -> None:
    config = Config.model_validate({"OPENAI_API_KEY": "sk-test", "OPENAI_BASE_URL": "http://models.example/v1"})
    os.environ["ALL_PROXY"] = value
    try:
        with make_client(config):
            pass
    except PipelineError as error:
        assert "ALL_PROXY" in str(error) and (len(value) < 4 or value not in str(error))
    finally:
        del os.environ["ALL_PROXY"]


@pytest.mark.parametrize(
    "value",
    ["socks5://h:1", "socks4://h:1"],
)
def test_a_proxy_that_openalex_cannot_use(paper: Project, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    if find_spec("socksio"):
        pytest.skip("socksio is installed")
    paper.all_stages()
    monkeypatch.setenv("ALL_PROXY", value)
    error = one_sentence(paper.run("export_mentions.py --openalex", expect=1))
    assert "The proxy in ALL_PROXY cannot be used" in error


# Certificates


class _Refuses(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(401)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of this machine that nobody trusts, and its key beside it."""
    if not shutil.which("openssl"):
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    line = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out it.pem -days 2 -subj /CN=localhost -addext"
    command = [*line.split(), "subjectAltName=DNS:localhost"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "it.pem"


@pytest.fixture
def https(certificate: Path) -> Iterator[str]:
    """The URL of a server that has this certificate and refuses every key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key.pem"))
    server = HTTPServer(("127.0.0.1", 0), _Refuses)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda request, address: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"https://localhost:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


def test_an_untrusted_certificate(
    paper: Project, https: str, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", https)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    error = one_sentence(paper.run(EXTRACT, expect=1))
    host = https.removeprefix("https://").removesuffix("/v1")
    assert f"The certificate of {host} is not trusted" in error and "SSL_CERT_FILE" in error
    assert f"SSL_CERT_DIR names {os.environ['SSL_CERT_DIR']}" in error
    assert paper.clock.sleeps == []  # repeating it does not help
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert "refused the key" in one_sentence(paper.run(EXTRACT, expect=1))


@pytest.mark.parametrize("content", [None, "no certificate", ""])
def test_a_file_of_certificates_that_cannot_be_used(
    paper: Project, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    file = paper.folder / "trusted.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    error = one_sentence(paper.run(EXTRACT, expect=1))
    problem = "does not exist" if content is None else "no certificate in PEM format"
    assert f"SSL_CERT_FILE names {file}" in error and problem in error


# The end of a model


def ends(server: Server, day: object) -> None:
    """The server announces the day on which it stops serving every model."""

    def announce(request: Request, reply: Reply) -> Reply:
        if isinstance(reply.body, dict) and request.path.startswith("/v1/models/"):
            reply.body["shutdown_date"] = day
        return reply

    server.before_response = announce


def in_days(days: int) -> str:
    return (date.today() + timedelta(days)).isoformat()


@pytest.mark.parametrize("days", [-400, -1, 0, 1, 45, 89])
def test_a_model_that_ends_soon(paper: Project, server: Server, days: int) -> None:
    ends(server, in_days(days))
    assert "shutdown date" not in paper.run(f"{EXTRACT} --dry-run")
    warnings = [line for line in paper.run(EXTRACT).splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert f"The shutdown date of gpt-4o-mini is {in_days(days)}" in warnings[0] and "MODEL" in warnings[0]
    assert "shutdown date" not in paper.run(EXTRACT)  # nothing is sent


@pytest.mark.parametrize("day", [None, in_days(92), in_days(1000), "soon", "", 5, ["2026-01-01"], "2026-13-01"])
def test_a_model_that_does_not_end_soon(paper: Project, server: Server, day: object) -> None:
    ends(server, day)
    printed = paper.run(EXTRACT)
    assert "warning" not in printed and "sent 1 request" in printed
    assert server.requests.count(("GET", "/v1/models/gpt-4o-mini")) == 1


@pytest.mark.parametrize(
    "reply",
    [Reply(404, {"detail": "Not Found"}), Reply(500, b""), Reply(429, {}), Reply(200, b"<html>"), Reply(200, b"[]"),
     Reply(200, {}), Reply(200, {}, cut=0)],
)  # fmt: skip
def test_a_server_that_does_not_describe_its_models(paper: Project, server: Server, reply: Reply) -> None:
    asked: list[str] = []

    def answer(request: Request) -> Reply | None:
        if not request.path.startswith("/v1/models/"):
            return None
        asked.append(request.path)
        return reply

    server.before_request = answer
    printed = paper.run(EXTRACT)
    assert "sent 1 request" in printed and "warning" not in printed and len(asked) == 1


def test_the_date_may_have_a_time(project: Project, server: Server) -> None:
    ends(server, "2027-01-14T00:00:00Z")
    config = load_config(project.folder / "config.yaml")
    provider = OpenAIProvider(config, Workspace(project.output))
    assert provider.shutdown_date("gpt-4o-mini") == date(2027, 1, 14)
    assert provider.shutdown_date("") is None
    provider.close()


# The input folder


@pytest.mark.parametrize("line", [EXTRACT, "run_batch.py --check", f"{EXTRACT} --dry-run"])
def test_a_missing_input_folder_is_created(project: Project, line: str) -> None:
    project.input.rmdir()
    error = one_sentence(project.run(line, expect=1))
    assert str(project.input) in error and "is empty: put your PDFs there" in error
    assert project.input.is_dir()
    project.paper("a.pdf", PAGE)
    project.run(line)


# Code of users


def test_settings_are_text_that_the_official_client_takes(project: Project, server: Server) -> None:
    config = load_config(project.folder / "config.yaml")
    for key in (config["OPENAI_API_KEY"], config.openai_api_key):
        assert type(key) is str
        with openai.OpenAI(api_key=key, base_url=config["OPENAI_BASE_URL"], max_retries=0) as client:
            assert client.models.retrieve(str(config.model)).id == "gpt-4o-mini"
