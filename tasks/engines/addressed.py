"""Tells a text in a photo that addresses whoever judges it: text in a picture is data, and this is data to keep away.

What is printed on products speaks to people who use them. The signs of the other kind are few: it names a machine, the
instructions that it was given, or the answer that it shall give.
"""

import re
from collections.abc import Sequence

from tasks.engines.ocr import TextLine

SURE = 0.6  # confidence from which a line counts: better too wary
# Letters and digits only, since the reader often drops the spaces between words.
SIGNS = re.compile(
    "|".join([
        "(ignore|disregard|forget|override|overlook)(all|any|the|your|every|these|those|my|of)*"
        "(previous|prior|earlier|above|preceding|former|other|system)*(instruction|prompt|direction|rule|guideline)",
        "systemprompt|systemmessage|newinstructions?forthe(model|ai|judge)",
        "you(are|re)(now)?(a|an|the)?(helpful)?(ai|llm|vlm|assistant|chatbot|languagemodel|judge|grader|evaluator)",
        "(dear|hey|attention|note(to)?|hello)(the)?(ai|llm|vlm|assistant|model|judge|grader|evaluator|gpt|qwen)",
        "(language|vision|visionlanguage)models?(must|should|shall|will|reading|seeing|mustanswer)",
        "(give|rate|score|mark|grade|judge)(this|these|it|both|the|pair|photo|image|picture|sample|them)+"
        "(as|a|an|with|at|by|full|the|scores?|marks?|of)*(10|ten|100|perfect|highest|maximum|top|same|pass)",
        "(answer|reply|respond|output|return|print)(only|with|just|always|that|in|the)*"
        "(yes|true|sameproduct|10outof10|json|pass|approved|match|theword)",
        "(marks?|scores?)(mustbe|shouldbe|is|are|of)?(10|ten)(outof|of|from)?(10|ten)",
        "sameproduct(10|ten|true|yes|is)",
    ])
)  # fmt: skip


def addressed(lines: Sequence[TextLine]) -> str | None:
    """Return the words by which a photo's text addresses a judge, None where it does not."""
    sure = [line for line in lines if line.confidence >= SURE]
    # as one reads: from the top, then from the left
    sure.sort(key=lambda line: (round(min(y for _, y in line.polygon) * 40), min(x for x, _ in line.polygon)))
    said = "".join(sign for line in sure for sign in line.text.casefold() if sign.isalnum())
    found = SIGNS.search(said)
    return found.group(0) if found else None
