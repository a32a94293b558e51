"""Sixty answers as instruct and thinking models put them, half of them right, and whether so read.

They were written before the reader was: what it makes of them tells how it does on others.
"""

import pytest

from safegrpo.evaluation.answers import check_answer
from safegrpo.evaluation.item import AnswerKey

PLANT = AnswerKey("choice", "B", ("petal", "stem", "root", "leaf"))
SHAPE = AnswerKey("choice", "C", ("circle", "square", "triangle"))
YEAR = AnswerKey("choice", "D", ("1990", "1995", "2000", "2005"))
ANGLE = AnswerKey("choice", "B", ("30°", "45°", "60°", "90°"))
SAME = AnswerKey("choice", "A", ("Yes", "No"))
YES, NO = AnswerKey("yes_no", "yes"), AnswerKey("yes_no", "no")
BLUE, TRIANGLE = AnswerKey("text", "blue"), AnswerKey("text", "triangle")
PAIR = AnswerKey("list", "[2, 5]")


def number(right: str, precision: int | None = None) -> AnswerKey:
    return AnswerKey("number", right, precision=precision)


RIGHT = [
    (PLANT, "Looking at the diagram, the part labelled with the arrow is the one that holds the "
            "flower up and carries water. That is the stem.\n\n**Answer: (B) stem**"),
    (PLANT, "The arrow points at the green stalk.\n\nOption B: stem"),
    (PLANT, "To solve this, let us go through the options:\n\n- (A) petal: the coloured part.\n"
            "- (B) stem: the stalk, which the arrow shows.\n- (C) root: below the ground.\n"
            "- (D) leaf: flat.\n\nTherefore, the correct answer is:\n\n$$\\boxed{B}$$"),
    (PLANT, "Which part is shown? The part shown is the stem, so the correct choice is **B**."),
    (SHAPE, "The figure has three sides and three corners.\n\nFinal answer: C. triangle"),
    (SHAPE, "C. triangle\n\nExplanation: A circle (A) has no corners and a square (B) has four."),
    (SHAPE, "The answer is not the square, which has four sides; it is C."),
    (SHAPE, "I initially considered A, since the shape is closed, but it has three straight "
            "sides. So the answer is C."),
    (YEAR, "Based on the bar chart, it first exceeds 40 in 2005.\n\n### Final Answer\n\nD"),
    (YEAR, "The bars rise until the end. Therefore the answer is \\( \\boxed{\\text{D}} \\)."),
    (ANGLE, "The legs are equal, so the base angles are 45° each. The answer is **B. 45°**."),
    (ANGLE, "Angle sum: 180° \u2212 90° \u2212 45° = 45°.\n\nSo the correct option is (B)."),
    (SAME, "Yes, the two pictures match. (A)"),
    (YES, "The picture shows a street. There is a traffic light at the corner.\n\nAnswer: Yes"),
    (YES, "Looking closely, I can see a bench near the tree. So the answer is yes."),
    (YES, "Based on the image, yes, there is a fork on the table."),
    (NO, "Upon inspection of the image, no umbrella can be found.\n\nThe answer is **no**."),
    (NO, "No. While there are people, none of them holds an umbrella."),
    (NO, "There does not appear to be a clock in the image."),
    (NO, "I don't see a fork in the picture; only a spoon and a knife."),
    (number("12"), "Counting row by row: 4 + 4 + 4 = 12.\n\nThere are **12** blocks in total."),
    (number("7"), "Step 1: There are 10 apples.\nStep 2: 3 are eaten.\nStep 3: 10 - 3 = 7.\n\n"
                  "Answer: 7"),
    (number("250"), "The scale reads about 250 g (the marks are 50 g apart)."),
    (number("8"), "The side is $x = \\sqrt{64} = 8$ cm."),
    (number("40"), "The gap between the tallest bar (90) and the shortest bar (50) is 40."),
    (number("64"), "The area is 8 \u00d7 8 = 64 cm²."),
    (number("0.75", 2), "The ratio is 3/4, which is 0.75."),
    (number("2"), "\\boxed{2\\text{ cm}}"),
    (PAIR, "The two missing numbers are 2 and 5.\n\nAnswer: [2, 5]"),
    (BLUE, "The larger ball is blue, not green."),
]  # fmt: skip

WRONG = [
    (PLANT, "The correct answer is A, because petals are bright. Option B is the stem."),
    (PLANT, "It could be either B or D; I cannot decide from the picture."),
    (PLANT, "Option B is incorrect because the stem is not shown. The answer must be D."),
    (PLANT, "B is tempting, but the arrow points at the ground, so I choose C."),
    (PLANT, "At first I thought the answer was B. However, looking closer, it is C."),
    (PLANT, "Unable to determine; see panel B."),
    (SHAPE, "C is not correct, since the shape has four sides."),
    (SHAPE, "The shape shown has four equal sides.\n\n**Answer:** (B) square"),
    (YEAR, "The years shown are 1990, 1995, 2000 and 2005."),
    (YEAR, "\\boxed{A}\n\nD would be the last year."),
    (YEAR, "D can be ruled out, as the bar is missing."),
    (SAME, "No, they differ. The answer is B."),
    (YES, "There is a red bus parked beside the building."),
    (YES, "I see several people walking along the beach."),
    (YES, "It is hard to say yes or no without a closer look."),
    (NO, "Yes, there appears to be a clock on the wall."),
    (NO, "I cannot see the image clearly, so I can't say whether there is a dog."),
    (NO, "There isn't enough detail to decide."),
    (number("12"), "There are more than 12 blocks in the picture."),
    (number("7"), "Either 7 or 8 apples remain."),
    (number("8"), "The side is \\sqrt{8} cm."),
    (number("3"), "The area is 3\\pi."),
    (number("5"), "It is not 5, since one child is hidden; I count 6."),
    (number("250"), "The scale reads between 200 and 250 g."),
    (number("2"), "The answer is 2x + 1."),
    (number("7"), "The number cannot be determined from figure 7."),
    (number("60"), "It is 60 degrees less than 180 degrees, that is 120 degrees."),
    (PAIR, "It is not [2, 5]."),
    (BLUE, "The ball isn't really blue; it is green."),
    (TRIANGLE, "It is anything but a triangle."),
]  # fmt: skip


@pytest.mark.parametrize(("key", "answer"), RIGHT)
def test_a_right_answer_of_a_model_is_right(key: AnswerKey, answer: str) -> None:
    assert check_answer(key, answer)[0]


@pytest.mark.parametrize(("key", "answer"), WRONG)
def test_a_wrong_answer_of_a_model_is_wrong(key: AnswerKey, answer: str) -> None:
    assert not check_answer(key, answer)[0]
