"""Answers against their keys: what counts as right, what was read, and in what time."""

import time

import pytest

from safegrpo.evaluation.answer_numbers import as_number
from safegrpo.evaluation.answers import check_answer, pope_official
from safegrpo.evaluation.item import AnswerKey

METALS = AnswerKey("choice", "B", ("wood", "iron", "iron ore"))
NUMBERS = AnswerKey("choice", "C", ("2", "12", "20"))


@pytest.mark.parametrize(
    "answer",
    [
        "B", "b", "(B)", "Answer: b", "B\n\nIt rusts:\nA. wood does not\nB. iron does",
        "B.", "B) iron", "B. iron", "B: iron", "**B**", "(b) iron", "B, it rusts.",
        "The answer is B.", "The answer is (b).", "Answer: B", "The correct option is B, not A.",
        "the correct answer to this question is: **B. iron**", "Option B is correct.",
        "A is soft. B is the best choice.", "I would choose B.", "So it must be B.", r"\boxed{B}",
        r"A? No. \boxed{\text{B}}", r"\boxed{\text{(B) iron}}", "iron", "Iron.", "It is iron.",
        "The answer is iron.", "A. wood\nB. iron\nC. iron ore\n\nB", "Option A is out, so option B",
        "The answer is not A but B.", "The answer is A. Wait: the answer is B.",
        "The answer is: I think B.", 'The answer is "B".', "The answer is 'B'", r"\(B\)", "[B]",
        "The answer is \u201cB\u201d.", "Option B: iron", "It rusts.\n\nB) iron", "It leaves B.",
        "The answer is A. Wait, no, it should be B.", "It could be A, but I think B is more likely",
        "B. iron\n\nWood (A) and iron ore (C) are none.", "Anything but A, so B.", "It rusts. (B)",
        "### Answer\n\nB", "Wood (A) is soft. My choice: B", "A is out, so it is B.",
    ],
)  # fmt: skip
def test_the_right_letter_is_read_however_it_is_put(answer: str) -> None:
    assert check_answer(METALS, answer) == (True, "B")


@pytest.mark.parametrize(
    "answer",
    [
        "A or B", "The answer is A or B.", "The answer is B or A.", "(A) wood or (B) iron", "A/B",
        "A and B", "The answer is B, C.", "A. wood\nB. iron\nC. iron ore", "A. wood B. iron",
        "", " \n", "I cannot tell.", "wood and iron", "D", "The answer is a metal.", "It is not B.",
        "It is not iron.", "either A or B", r"\boxed{A or B}", "Both.", "Not B",
        "The answer cannot be B", "anything except B", "all options except B", "hepatitis B",
        "I would eliminate B", "See Figure B.", "I cannot answer. Grade: B", "I don't think so: B-",
        "The answer is B. Wait, that is wrong.", "Option B can be ruled out.", "A plan B",
        "I don't think it is iron", "anything but iron", "B is tempting", "It is hardly iron.",
    ],
)  # fmt: skip
def test_a_hedge_or_no_choice_at_all_is_unread_and_wrong(answer: str) -> None:
    assert check_answer(METALS, answer) == (False, "")


@pytest.mark.parametrize(
    ("key", "answer", "read"),
    [
        (METALS, "A", "A"), (METALS, "The answer is C.", "C"), (METALS, "iron ore", "C"),
        (METALS, "It is made of wood.", "A"), (NUMBERS, "12", "B"), (NUMBERS, "There are 2.", "A"),
        (AnswerKey("choice", "B"), "The answer is D", "D"), (METALS, r"B \boxed{A}", "A"),
        (AnswerKey("choice", "A", ("vitamin A", "vitamin C")), "vitamin C", "B"),
    ],
)  # fmt: skip
def test_a_wrong_letter_is_read_too(key: AnswerKey, answer: str, read: str) -> None:
    assert check_answer(key, answer) == (False, read)


@pytest.mark.parametrize(
    "answer",
    ["There are 4 apples: 2 red and 2 green", "2+2=4", "4", "four", "The answer is 2 + 2 = 4."],
)
def test_a_choice_that_is_a_number_is_read_as_one(answer: str) -> None:
    assert check_answer(AnswerKey("choice", "B", ("2", "4", "6")), answer) == (True, "B")
    metres = AnswerKey("choice", "B", ("2 m", "4 m", "6 m"))
    assert check_answer(metres, "It is 6 - 2 = 4 m long, in all.") == (True, "B")


def test_of_choices_that_are_all_listed_none_is_taken() -> None:
    years = AnswerKey("choice", "C", ("1990", "1995", "2000"))
    assert check_answer(years, "Shown are 1990, 1995 and 2000.") == (False, "")


def test_an_article_is_no_letter() -> None:
    shapes = AnswerKey("choice", "B", ("square", "circle"))
    assert check_answer(shapes, "The answer is A circle.") == (True, "B")
    assert check_answer(shapes, "The answer is A because it has corners.") == (False, "A")


def test_a_choice_that_is_there_twice_is_right_by_either_letter() -> None:
    assert check_answer(AnswerKey("choice", "A", ("4", "5", "4")), "C") == (True, "C")
    assert check_answer(AnswerKey("choice", "A", ("4", "5", "4")), "B") == (False, "B")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes", "yes"), ("no.", "no"), ("**Yes**, there is one.", "yes"),
        ("No, there isn't.", "no"),
        ("Is there one? Yes.", "yes"), ("The left side is empty. So no.", "no"), ("NO", "no"),
        ("The answer is yes.", "yes"), ("Answer: No", "no"), (r"\boxed{\text{yes}}", "yes"),
        ("I don't see a dog.", "no"), ("There is no dog in the image.", "no"),
        ("There isn\u2019t any.", "no"), ("The image contains no dog", "no"),
        ("There is a cat, not a dog", "no"), ("It is wet outside, so yes.", "yes"),
        ("I think yes", "yes"), ("Yes. Wait, no.", "no"), ("There do not seem to be any.", "no"),
        ("A dog is not visible.", "no"), ("The image doesn't show one.", "no"),
        ("No dogs are here.", "no"),
        ("Yes. It has no tail.", "yes"),
    ],
)  # fmt: skip
def test_yes_and_no_are_read_as_the_answer_opens_or_concludes(answer: str, said: str) -> None:
    assert check_answer(AnswerKey("yes_no", said), answer) == (True, said)
    assert check_answer(AnswerKey("yes_no", "no" if said == "yes" else "yes"), answer)[0] is False


@pytest.mark.parametrize(
    "answer",
    [
        "", "Yes and no.", "yes or no", "No, yes.", "Yes, a dog. On second look, a cat.\nNo.",
        "Maybe.", "A dog", "I cannot tell.", "I can't see the image.", "No one knows.",
        "There is a chair, but there is no dog.", "There is nothing but a dog", "None", "Nobody",
        "The image shows a dog.", "There is a dog in the image.", "I see a red bus", "No idea.",
        "There is a man holding a phone", "There is no way to tell.", "There is no doubt.",
        "It is hard to say yes or no.", "There isn't enough detail.",
    ],
)  # fmt: skip
def test_what_is_neither_yes_nor_no_is_unread_and_wrong(answer: str) -> None:
    for right in ("yes", "no"):
        assert check_answer(AnswerKey("yes_no", right), answer) == (False, "")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("Yes", "yes"), ("No", "no"), ("no, none", "no"), ("There is not one.", "no"),
        ("I don't see one", "yes"), ("", "yes"), ("NO", "yes"), ("Yes. No.", "yes"),
        ("There is\nno dog", "yes"), ("Well, no", "no"),
    ],
)  # fmt: skip
def test_popes_own_rule_is_kept_with_its_oddities(answer: str, said: str) -> None:
    assert pope_official(answer) == said


@pytest.mark.parametrize(
    ("right", "precision", "answer", "read"),
    [
        ("3", None, "3", "3"), ("3", None, "There are 3 apples.", "3"), ("3", None, "3.0", "3.0"),
        ("1000", None, "1,000 g", "1000"), ("1000", None, r"\(1{,}000\)", "1000"),
        ("-5", None, "x = \u22125", "-5"),
        ("3", None, "Of 5, 2 are red, so 3", "3"), ("3", None, "The answer is 3 of 5.", "3"),
        ("5", None, "The answer is 2 + 3 = 5 apples", "5"), ("45", None, "45%", "45"),
        ("0.5", None, "1/2", "1/2"), ("0.5", None, r"\boxed{\frac{1}{2}}", "1/2"),
        ("0.5", 1, ".5", ".5"),
        ("0.5", None, "\u00bd", "1/2"), ("3", None, "three", "3"),
        ("3", None, "There are three apples.", "3"),
        ("1.2", 1, "about 1.23 m", "1.23"), ("1.2", 1, "1.15", "1.15"),
        ("7", None, r"5 \boxed{7} 9", "7"),
        ("12", None, "**12**", "12"), ("1/2", None, "0.5", "0.5"), ("6", None, "$6", "6"),
        ("8", 0, "8.4", "8.4"), ("5", None, "The total is 5 (2 red, 3 blue).", "5"),
        ("5", None, "There are 5 bars larger than 3.", "5"), ("-5", None, "minus 5", "-5"),
        ("22", None, "The gap is 22 years (1990-2012)", "22"), ("1000", None, "1 000", "1000"),
        ("1000", None, "1e3", "1e3"), ("0.5", None, r"\frac12", "1/2"),
        ("8", None, "The answer is the sum of 3 and 5, which is 8", "8"),
        ("5000000", None, "5 million", "5 million"), ("2.5", None, "2\u00bd", "2 1/2"),
        ("45", None, r"45^\circ", "45"), ("64", None, "64 cm^2", "64"),
        ("6", None, "5? No, 6", "6"),
        ("6", None, "It is 5. Wait, no, 6.", "6"), ("32", None, "2^5 = 32", "32"),
        ("3", None, "Answer - 3", "3"), ("6", None, "It is 6. See figure 7.", "6"),
        ("12", None, "The total is 12. That is more than 10.", "12"),
        ("5", None, "not 4 but 5", "5"),
        ("2", None, "1. Count.\n2. Compare: 4 are left.\nThe answer is 2.", "2"),
        ("1.45", 2, "1.445", "1.445"), ("-1.5", 1, "-1.45", "-1.45"),
        ("7", None, "is 7: 3 and 4", "7"),
    ],
)  # fmt: skip
def test_numbers_are_equal_as_numbers(right, precision, answer: str, read: str) -> None:
    assert check_answer(AnswerKey("number", right, precision=precision), answer) == (True, read)


@pytest.mark.parametrize(
    ("right", "precision", "answer", "read"),
    [
        ("3", None, "4", "4"), ("3", None, "3 or 4", ""), ("4", None, "3 cm or 4 cm", ""),
        ("3", None, "none", ""),
        ("3", None, "3.5", "3.5"), ("1.2", 1, "1.3", "1.3"), ("1.23", 2, "1.2", "1.2"),
        ("3", None, "", ""),
        ("3", None, "-3", "-3"), ("3", None, "1/0", "1/0"),
        ("3", None, "3 apples and 4 pears", "4"), ("2", None, "x2", ""),
        ("45", None, "The answer is 3 or 45", ""), ("5", None, "The answer is not 5", ""),
        ("5", None, "more than 5", ""), ("5", None, "at least 5", ""), ("5", None, "5 or more", ""),
        ("5", None, r"\sqrt{5}", ""), ("5", None, r"5\pi", ""), ("5", None, "2^5", ""),
        ("5", None, "2\u2075", ""), ("25", None, "2\u2075", ""),
        ("5", None, "5 million", "5 million"),
        ("5", None, "5e3", "5e3"), ("5", None, "The answer is 5 + 2", ""), ("25", None, "2*5", ""),
        ("3", None, "The answer is the sum of 3 and 5, which is 8", "8"), ("5", None, "5x", ""),
        ("1.45", 2, "1.455", "1.455"), ("250", None, "between 200 and 250", ""),
        ("8", None, "6-8 people", ""), ("3", None, "5:3", ""),
        ("7", None, "unknown from figure 7", ""),
        ("5", None, "It is 5. Wait, that is wrong.", ""), ("3", None, "1, 2 and 3", ""),
    ],
)  # fmt: skip
def test_other_numbers_are_wrong(right, precision, answer: str, read: str) -> None:
    assert check_answer(AnswerKey("number", right, precision=precision), answer) == (False, read)


def test_only_a_text_that_is_nothing_but_a_number_is_one() -> None:
    assert [as_number(text) for text in ("1,200", " 3.5", "1/4", "9:45", "145°", "", "two")] == [
        1200, 3.5, 0.25, None, None, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("right", "answer", "correct", "read"),
    [
        ("[0, 6]", "[0, 6]", True, "0, 6"), ("[0, 6]", "The answer is 0 and 6.", True, "0, 6"),
        ("[0, 6]", r"\boxed{(0, 6)}", True, "0, 6"), ("[0, 6]", "[6, 0]", False, "6, 0"),
        ("[0, 6]", "0", False, "0"), ("[0.5, 1]", "From 3: [0.50, 1.0]", True, "0.50, 1.0"),
        ("['red', 'blue']", "red and blue", True, "red, blue"), ("[1, 2]", "no idea", False, ""),
        ("['red', 'blue']", "The answer is: Red, blue.", True, "red, blue"),
        ("['red', 'blue']", "blue, red", False, "blue, red"),
        ("[0, 6]", "[0, 6] is wrong", False, ""), ("[0, 6]", "not [6, 0] but [0, 6]", True, "0, 6"),
    ],
)  # fmt: skip
def test_the_order_of_a_list_counts(right: str, answer: str, correct: bool, read: str) -> None:
    assert check_answer(AnswerKey("list", right), answer) == (correct, read)


def test_a_text_is_right_as_the_reward_reads_it() -> None:
    assert check_answer(AnswerKey("text", "7:30"), "It is 7:30.") == (True, "7:30")
    assert check_answer(AnswerKey("text", "red"), "red or blue") == (False, "")
    assert check_answer(AnswerKey("text", ""), "") == (False, "")


@pytest.mark.parametrize(
    "answer",
    ["I don't think it is red", "no red", "without red", "hardly red", "none of it is red",
     "anything but red", "It is red. Wait, it is blue."],
)  # fmt: skip
def test_a_text_that_is_denied_is_not_said(answer: str) -> None:
    assert check_answer(AnswerKey("text", "red"), answer) == (False, "")


def test_a_text_is_said_beside_what_is_denied() -> None:
    for answer in ("red, not blue", "It is not blue but red.", "No, it is red.", "Red. Wait, yes."):
        assert check_answer(AnswerKey("text", "red"), answer) == (True, "red")
    assert check_answer(AnswerKey("text", "not safe"), "It is not safe.") == (True, "not safe")


def test_each_of_the_words_must_stand_there_as_a_whole() -> None:
    key = AnswerKey("words", "", ("red lamp", "Stool"))
    assert check_answer(key, "The LAMP, a red one, is on the stool.") == (True, "red lamp, Stool")
    assert check_answer(key, "The lamps are red, on the stool.") == (False, "Stool")
    assert check_answer(AnswerKey("words", ""), "anything") == (False, "")


@pytest.mark.parametrize("answer", ["**", "$$", r"\boxed{}", "*_*\n", "\x1c", "\\boxed{ }"])
@pytest.mark.parametrize("kind", ["choice", "yes_no", "number", "list", "text", "words"])
def test_marks_without_an_answer_are_wrong(kind, answer: str) -> None:
    key = AnswerKey(kind, "yes" if kind == "yes_no" else "B", ("wood", "iron"))
    assert check_answer(key, answer) == (False, "")


def test_a_graded_answer_is_not_checked() -> None:
    with pytest.raises(ValueError, match="judge"):
        check_answer(AnswerKey("graded", "x"), "x")


def test_of_an_overlong_answer_both_ends_are_read() -> None:
    filler = " and so on" * 100_000
    assert check_answer(METALS, "The answer is B." + filler) == (True, "B")
    assert check_answer(METALS, filler + "\nThe answer is B.") == (True, "B")
    assert check_answer(AnswerKey("yes_no", "no"), "No." + filler) == (True, "no")


HOSTILE = ["\\boxed{", "\\text{", "answer ", "answer is ", "A ", "(A", "(B) ", "B.\n", "1", "1,",
"1/",
           ",111", " ", "\n", "- ", "[1", "[", "yes no ", "no, ", "there is ", "is ", "a or ",
           "\ufdfa", "not ", "no red ", "wait, ", "wait, 5 ", "5 ", "5=", "5 (", "between 5 and ",
           "'", "\\frac", "\\text{", "5 x ", "option A ", "B. wood ", "I think B ", ": 5 a and 5",
           "answer\n", "so it is B\n", "1. 5\n", "there is a", "no a ", "5 000 "]  # fmt: skip
KINDS = [METALS, AnswerKey("yes_no", "yes"), AnswerKey("number", "3", precision=2),
         AnswerKey("list", "[1, 2]"), AnswerKey("list", "[a, b]"), AnswerKey("text", "red lamp"),
         AnswerKey("words", "", ("red", "lamp"))]  # fmt: skip


@pytest.mark.parametrize("key", KINDS, ids=lambda key: key.kind)
def test_a_megabyte_of_anything_is_read_in_no_time(key: AnswerKey) -> None:
    for piece in HOSTILE:
        answer = piece * (2**20 // len(piece))
        start = time.process_time()
        check_answer(key, answer)
        pope_official(answer)
        assert time.process_time() - start < 1.5, piece
