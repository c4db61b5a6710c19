"""The readers: who reads an opinion, described in each language."""

from importlib.resources import files

from pydantic import field_validator

from medsent.config.loader import Settings, read_entries
from medsent.errors import ConfigError
from medsent.storage.paths import any_path

_FALLBACK_LANGUAGE = "en"


class Persona(Settings):
    """One reader of opinions."""

    id: str
    """What the column `persona` holds."""
    name: dict[str, str]
    """Language code to the name shown in reports; `en` is required."""
    description: dict[str, str]
    """Language code to the words the model reads; `en` is required."""

    @field_validator("id", mode="before")
    @classmethod
    def _number_as_digits(cls, name: object) -> object:
        """YAML reads `id: 17` as a number, and shards may hold readers as numbers too."""
        return str(name) if isinstance(name, int) and not isinstance(name, bool) else name

    @field_validator("name", "description")
    @classmethod
    def _has_english(cls, texts: dict[str, str]) -> dict[str, str]:
        if _FALLBACK_LANGUAGE not in texts:
            raise ValueError("needs at least the language 'en'")
        return texts

    def describe(self, language: str) -> str:
        """Return the description in `language`, or in English where there is none."""
        return self.description.get(language, self.description[_FALLBACK_LANGUAGE])

    def call(self, language: str) -> str:
        """Return the name in `language`, or in English where there is none."""
        return self.name.get(language, self.name[_FALLBACK_LANGUAGE])


def load_personas(path: str | None) -> dict[str, Persona]:
    """Read a persona file (YAML list of id, name, description); None means the 16 that ship.

    Raises `ConfigError` naming the file and the entry at fault.
    """
    source = any_path(path) if path else files("medsent.config").joinpath("personas.yaml")
    personas = read_entries(Persona, source, f"the persona file {path}")
    by_id = {persona.id: persona for persona in personas}
    if len(by_id) != len(personas):
        raise ConfigError(f"the persona file {path} uses an id twice; ids must differ")
    return by_id
