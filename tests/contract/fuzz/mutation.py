"""Damaged requests: as bytes, as a line damages them, and field by field."""

from __future__ import annotations

from collections.abc import Sequence

from tests.contract.fuzz.byte_mutations import BYTE_MUTATIONS
from tests.contract.fuzz.chance import Chance
from tests.contract.fuzz.corpus import Good
from tests.contract.fuzz.field_mutations import FIELD_MUTATIONS
from tests.contract.fuzz.tree import copy, encode, messages, parse
from tests.contract.pipelined import Call

_MOST_BYTES = 1 << 14  # copies of copies must not become work


class Mutator:
    """Damages good requests in one to four places."""

    def __init__(self, chance: Chance, good: Sequence[Good]) -> None:
        self._chance = chance
        self._good = [
            (each.rpc, parse(each.message.DESCRIPTOR.fields_by_number, each.data)) for each in good
        ]

    def mutant(self) -> Call:
        """Returns the next one."""
        chance = self._chance
        rpc, good = chance.one_of(self._good)
        fields = copy(good)
        places = 1 + chance.below(4)
        # Most of what is damaged as bytes is no message any more; half is left to be one.
        in_fields = chance.below(places + 1) if chance.below(2) else places
        for _ in range(in_fields):
            chance.one_of(FIELD_MUTATIONS)(chance, fields)
        if not chance.below(8):  # a field of another request
            _, other = chance.one_of(self._good)
            donor, to = (chance.one_of(list(messages(each))) for each in (other, fields))
            at = chance.place(donor)
            to[chance.place(to) : 0] = copy(donor[at : at + 1])
        data = encode(fields)
        for _ in range(places - in_fields):
            data = chance.one_of(BYTE_MUTATIONS)(chance, data)
        if not chance.below(32):  # the rest of another request
            rest = encode(chance.one_of(self._good)[1])
            data = data[: chance.place(data)] + rest[chance.place(rest) :]
        return Call(rpc, data[:_MOST_BYTES])
