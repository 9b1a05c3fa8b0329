"""What an edit changes."""

from dataclasses import dataclass

from faultproxy.config.schema import Config

_LATER = {"api": ": takes effect at the next start"}


@dataclass(frozen=True, slots=True)
class Difference:
    """The proxies whose configuration is another, and a line on each change."""

    proxies: frozenset[str]
    texts: tuple[str, ...]

    @classmethod
    def between(cls, old: Config, new: Config) -> "Difference":
        """Compare two configurations."""
        top = [key for key in Config.model_fields if key not in {"version", "proxies"}]
        texts = [f"{key} changed{_LATER.get(key, '')}" for key in top if getattr(old, key) != getattr(new, key)]
        changed = set()
        for name in [*old.proxies, *(name for name in new.proxies if name not in old.proxies)]:
            before, after = old.proxies.get(name), new.proxies.get(name)
            if before is after or before == after:
                continue
            if after is not None:
                changed.add(name)
            if before is None or after is None:
                texts.append(f"proxy {name} {'added' if before is None else 'removed'}")
            else:
                fields = [key for key in type(after).model_fields if getattr(before, key) != getattr(after, key)]
                texts.append(f"proxy {name}: {', '.join(fields)} changed")
        return cls(frozenset(changed), tuple(texts))
