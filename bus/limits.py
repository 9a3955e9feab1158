"""How large what travels may be, in bytes."""

#: Of a question to a runner.
MOST_QUESTION_BYTES = 64 * 1024
#: Of one answer.
MOST_ANSWER_BYTES = 8 * 1024**2
#: Of a dead letter's body that is seen without asking for it.
MOST_PREVIEW_BYTES = 256
#: Of all answers to one question together.
MOST_ANSWERS_BYTES = 64 * 1024**2
