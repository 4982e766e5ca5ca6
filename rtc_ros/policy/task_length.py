"""How much of a task sentence a policy reads: what is longer than its tokenizer takes is cut."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rtc_ros.policy.checkpoint_files import CheckpointError

_TOKENIZER = "tokenizer_processor"


@dataclass(frozen=True)
class TaskReader:
    """Reads sentences as a checkpoint's preprocessor does, without torch.

    ``tokenizer`` is one of the package tokenizers; the policy reads ``limit`` tokens of the text
    that ``text_of`` makes of a sentence.
    """

    tokenizer: Any
    limit: int
    text_of: Callable[[str], str]

    @classmethod
    def of(
        cls, preprocessor: Mapping[str, Any], backbone: Path, text_of: Callable[[str], str]
    ) -> TaskReader | None:
        """Return the reader of a policy_preprocessor.json; None: the sentence is never cut.

        None also where the backbone has no tokenizer.json, from which its tokens could be told.

        Raises:
            CheckpointError: tokenizer.json can't be read.
        """
        steps = {step["registry_name"]: step["config"] for step in preprocessor["steps"]}
        config = steps.get(_TOKENIZER, {})
        file = backbone / "tokenizer.json"
        limit = config.get("max_length", 512)
        if not config.get("truncation", True) or type(limit) is not int or not file.is_file():
            return None
        from tokenizers import Tokenizer  # type: ignore[import-untyped]

        try:
            tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # tokenizers raises plain Exceptions
            raise CheckpointError(f"{file} can't be read as a tokenizer: {error}") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(tokenizer, limit, text_of)

    def count(self, task: str) -> int:
        """Return how many tokens a sentence has, with all that is read with it."""
        return len(self._tokens(task))

    def problem(self, task: str) -> str:
        """Say what of a sentence the policy wouldn't read; "" where it reads all of it."""
        tokens = self._tokens(task)
        if len(tokens) <= self.limit:
            return ""
        unread = self.tokenizer.decode(tokens[self.limit :]).strip()
        # A prompt may say more than the sentence.
        more = self.text_of(task).strip() != task.strip()
        also = ", with the state that is told," if more else ""
        return (
            f"the task{also} has {len(tokens)} tokens and the policy reads {self.limit} of them "
            f"(tokenizer_max_length): the end, {unread!r}, would change nothing; shorten it"
        )

    def _tokens(self, task: str) -> list[int]:
        return list(self.tokenizer.encode(self.text_of(task)).ids)
