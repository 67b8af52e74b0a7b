"""Find which datasets the pages of research papers mention, how, and in which sentence.

For use from Python::

    from pipeline import Workspace, iter_mentions, load_config

    config = load_config()
    for mention in iter_mentions(Workspace(config.output_dir)):
        print(mention.source, mention.page, mention.dataset.raw_name)

Reading results this way loads neither the PDF library nor a provider.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config import load_config
    from pipeline.store import iter_mentions, load_document, load_text, manifest_entries
    from pipeline.workspace import Workspace

__all__ = ["Workspace", "iter_mentions", "load_config", "load_document", "load_text", "manifest_entries"]

_MODULES = {"load_config": "pipeline.config", "Workspace": "pipeline.workspace"}


def __getattr__(name: str) -> Any:
    """Load on first use: `--help` of the scripts should not wait for modules that it does not need."""
    if name not in __all__:
        raise AttributeError(f"module 'pipeline' has no attribute '{name}'")
    return getattr(import_module(_MODULES.get(name, "pipeline.store")), name)
