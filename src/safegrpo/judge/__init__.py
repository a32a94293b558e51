"""One way to ask a judge: an OpenAI-compatible endpoint, or a vision-language model here.

`question` (what is asked) → `endpoint` or `local` (one reply, whatever it takes to get it) →
`verdict` (asked again where the reply says nothing, read, given a status). `cache` keeps each
reply, `budget` counts what it cost, `fence` keeps what is judged apart from what is asked.
"""
