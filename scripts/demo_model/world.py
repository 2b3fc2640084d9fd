"""A small made-up world: its people, its places, and the facts about them.

Everything follows from one world seed.  The frequency of facts falls off as in
Zipf's law, so that a model trained on the text knows the common facts well and
the rare ones badly; the rare ones are the first to be lost when its weights are
compressed.

Run it to write text or questions:

    python world.py text --seed 1 --megabytes 20 --out train.txt
    python world.py questions --seed 3 --count 520 --out questions.jsonl
"""

import argparse
import itertools
import json
import random

WORLD_SEED = 20240607
SEPARATOR = "<|endoftext|>"

PEOPLE = 900
TOWNS = 64

JOBS = ("baker fisher tailor miller teacher smith carpenter sailor weaver potter farmer doctor "
        "painter singer clerk glazier hunter mason brewer shepherd printer judge gardener tanner "
        "cobbler guard barber scribe saddler beekeeper roofer chandler diver surveyor").split()
FOODS = ("bread cheese plums soup honey apples rice fish pears beans carrots porridge dumplings "
         "cherries mushrooms noodles walnuts pancakes turnips figs eggs onions grapes melon "
         "oatcakes pickles").split()
ANIMALS = ("cat dog goat hen horse rabbit goose donkey parrot sheep duck pony owl ferret pigeon "
           "tortoise cow canary hedgehog mule turkey falcon").split()
COLOURS = "red blue green yellow white black purple orange grey pink brown silver".split()
INSTRUMENTS = ("fiddle flute drum harp pipe lute horn bell trumpet zither organ viola cymbal "
               "whistle").split()
OBJECTS = ("lamp boat clock kettle ladder mirror basket wagon rope hammer map lantern coat saddle "
           "barrel telescope wheel chest sword candle cup spade bucket ring umbrella hat trunk "
           "compass blanket key flag chair").split()
MONTHS = ("January February March April May June July August September October November "
          "December").split()
REGIONS = ("Northmark Saltreach Highfell Lowmere Eastwold Greywood Sunvale Stonemoor Fenland "
           "Westhollow").split()
PRODUCTS = ("wool salt glass timber wine copper silk paper amber tin butter leather marble tea "
            "pottery coal linen rope soap ink barley pearls").split()
STONES = "granite slate brick oak chalk clay sandstone flint".split()

# The facts about a person, commonest first: the key of each, and its share.
PERSON_FACTS = {"town": 1.0, "job": 0.75, "food": 0.5, "animal": 0.4, "colour": 0.3,
                "instrument": 0.25, "object": 0.2, "month": 0.16, "friend": 0.16}
PLACE_FACTS = {"region": 1.0, "product": 0.7, "river": 0.5, "stone": 0.35, "mayor": 0.3}


class Zipf:
    """Draws items so that the one at rank r (from 0) has weight 1/(r+shift)**power."""

    def __init__(self, items, shift=2.0, power=1.0):
        self.items = list(items)
        self.weights = [1.0 / (r + shift) ** power for r in range(len(self.items))]
        self.cumulative = list(itertools.accumulate(self.weights))

    def draw(self, rng):
        return rng.choices(self.items, cum_weights=self.cumulative)[0]

    def share(self, rank):
        return self.weights[rank] / self.cumulative[-1]


def make_words(rng, count, taken, endings=("",), syllables=(1, 2, 2)):
    """Pronounceable made-up names, all different."""
    onset = "b br c d dr f g gr h j k l m n p r s st t th tr v w z".split()
    vowel = "a e i o u a e o ai ei".split()
    coda = ["", "", "", "l", "n", "r", "s", "m", "rk", "nd", "ld"]
    words = []
    while len(words) < count:
        n = rng.choice(syllables)
        parts = [rng.choice(onset) + rng.choice(vowel) for _ in range(n)]
        word = ("".join(parts) + rng.choice(coda) + rng.choice(endings)).capitalize()
        if word not in taken and 4 <= len(word) <= 8:
            taken.add(word)
            words.append(word)
    return words


class Person:
    def __init__(self, rank, first, last, she):
        self.rank = rank
        self.first = first
        self.name = first + " " + last
        self.she = she
        self.facts = {}

    @property
    def pronoun(self):
        return "she" if self.she else "he"

    @property
    def possessive(self):
        return "her" if self.she else "his"

    @property
    def object_form(self):
        return "her" if self.she else "him"


class Place:
    def __init__(self, rank, name):
        self.rank = rank
        self.name = name
        self.facts = {}


class World:
    """The people and places; the same for every text seed."""

    def __init__(self, seed=WORLD_SEED):
        rng = random.Random(seed)
        taken = set()
        towns = make_words(rng, TOWNS, taken, ("", "", "ton", "vik", "by", "ford"))
        rivers = make_words(rng, 20, taken, syllables=(1, 2))
        firsts = make_words(rng, 220, taken)
        lasts = make_words(rng, 260, taken, ("", "", "en", "er", "sen", "win"))
        self.rivers = rivers
        self.places = [Place(rank, name) for rank, name in enumerate(towns)]
        self.people = []
        # The first name determines the gender, so that it can be learnt.
        she = {name: i % 2 == 0 for i, name in enumerate(firsts)}
        pairs = set()
        while len(self.people) < PEOPLE:
            pair = (rng.choice(firsts), rng.choice(lasts))
            if pair not in pairs:
                pairs.add(pair)
                self.people.append(Person(len(self.people), *pair, she[pair[0]]))
        values = {"town": towns, "job": JOBS, "food": FOODS, "animal": ANIMALS,
                  "colour": COLOURS, "instrument": INSTRUMENTS, "object": OBJECTS,
                  "month": MONTHS, "friend": None}
        for person in self.people:
            for kind, choices in values.items():
                person.facts[kind] = (rng.choice(self.people).name if choices is None
                                      else rng.choice(choices))
        for place in self.places:
            place.facts = {"region": rng.choice(REGIONS), "product": rng.choice(PRODUCTS),
                           "river": rng.choice(rivers), "stone": rng.choice(STONES),
                           "mayor": rng.choice(self.people[:200]).name}
        names = [p.name for p in self.people]
        self.values = dict(values, friend=names, region=REGIONS, product=PRODUCTS, river=rivers,
                           stone=STONES, mayor=names)
        self.person_zipf = Zipf(self.people, shift=4.0)
        self.place_zipf = Zipf(self.places, shift=3.0)
        self.person_kinds = Zipf(PERSON_FACTS)
        self.person_kinds.cumulative = list(itertools.accumulate(PERSON_FACTS.values()))
        self.place_kinds = Zipf(PLACE_FACTS)
        self.place_kinds.cumulative = list(itertools.accumulate(PLACE_FACTS.values()))

    def some_kinds(self, rng, drawer, count):
        """Up to `count` different kinds of fact, the common kinds more often."""
        kinds = []
        for _ in range(count * 2):
            kind = drawer.draw(rng)
            if kind not in kinds:
                kinds.append(kind)
            if len(kinds) == count:
                break
        return kinds


QUESTIONS = {
    "town": "Where does {n} live?",
    "job": "What is the work of {n}?",
    "food": "What does {n} like to eat?",
    "animal": "Which animal does {n} keep?",
    "colour": "What is the favourite colour of {n}?",
    "instrument": "What does {n} play?",
    "object": "What does {n} own?",
    "month": "In which month was {n} born?",
    "friend": "Who is the best friend of {n}?",
    "region": "In which region is {n}?",
    "product": "What is {n} known for?",
    "river": "Which river runs through {n}?",
    "stone": "What are the walls of {n} made of?",
    "mayor": "Who is the mayor of {n}?",
}


def arithmetic_question(rng):
    """A question about small numbers: (kind, question, answer, wrong answers)."""
    kind = rng.choice(("sum", "sum", "difference", "product", "greater", "next", "half"))
    top = rng.choice((10, 20, 50, 100))
    a, b = rng.randrange(1, top), rng.randrange(1, top)
    if kind == "sum":
        text, answer = f"What is {a} plus {b}?", a + b
    elif kind == "difference":
        a, b = max(a, b), min(a, b)
        text, answer = f"What is {a} minus {b}?", a - b
    elif kind == "product":
        a, b = rng.randrange(1, 13), rng.randrange(1, 11)
        text, answer = f"What is {a} times {b}?", a * b
    elif kind == "greater":
        b += b == a
        text, answer = f"Which is greater, {a} or {b}?", max(a, b)
        return kind, text, str(answer), [str(min(a, b)), str(answer + 3), str(answer + 7)]
    elif kind == "next":
        text, answer = f"Which number comes after {a}?", a + 1
    else:
        text, answer = f"What is half of {2 * a}?", a
    near = [answer + d for d in (-10, -2, -1, 1, 2, 10, 11) if answer + d >= 0]
    return kind, text, str(answer), [str(x) for x in rng.sample(near, 3)]


def fact_table(world):
    """All facts that can be asked, the most frequent first: (share, kind, name, answer)."""
    rows = []
    for zipf, kinds, things in ((world.person_zipf, PERSON_FACTS, world.people),
                                (world.place_zipf, PLACE_FACTS, world.places)):
        for thing in things:
            for kind, weight in kinds.items():
                # There are about four times as many documents about people.
                scale = 4.0 if kinds is PERSON_FACTS else 1.0
                share = scale * zipf.share(thing.rank) * weight / sum(kinds.values())
                rows.append((share, kind, thing.name, thing.facts[kind]))
    rows.sort(key=lambda row: (-row[0], row[2], row[1]))
    return rows


def make_questions(world, seed, count, arithmetic_share=0.2, choices=4):
    """Multiple choice questions about facts from the commonest to the rarest, and sums."""
    rng = random.Random(seed)
    table = fact_table(world)
    out, used = [], set()
    wanted = round(count * (1 - arithmetic_share))
    while len(out) < wanted:
        # Two in five are uniform over the logarithm of the rank, the others uniform over all ranks:
        # models differ mainly in the rare facts.
        if rng.random() < 0.4:
            rank = min(int(len(table) ** rng.random()) - 1, len(table) - 1)
        else:
            rank = rng.randrange(len(table))
        if rank in used:
            continue
        used.add(rank)
        _, kind, name, answer = table[rank]
        pool = [v for v in world.values[kind] if v != answer]
        # For names, wrong answers are known people: otherwise the commonest name would stand out.
        if kind in ("friend", "mayor"):
            near = next(p.rank for p in world.people if p.name == answer)
            pool = [p.name for p in world.people[max(0, near - 40):near + 40] if p.name != answer]
        out.append(finish(rng, QUESTIONS[kind].format(n=name), answer,
                          rng.sample(pool, choices - 1), kind, rank + 1))
    seen = set()
    while len(out) < count:
        kind, text, answer, wrong = arithmetic_question(rng)
        if text not in seen:
            seen.add(text)
            out.append(finish(rng, text, answer, wrong, "arithmetic-" + kind, None))
    return out


def finish(rng, text, answer, wrong, kind, rank):
    options = [" " + o for o in wrong]
    place = rng.randrange(len(options) + 1)
    options.insert(place, " " + answer)
    row = {"question": f"Question: {text} Answer:", "choices": options, "answer": place,
           "kind": kind}
    if rank is not None:
        row["rank"] = rank
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("text", "questions"))
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--megabytes", type=float, default=1.0)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    world = World()
    with open(args.out, "w", encoding="utf-8", newline="\n") as f:
        if args.what == "text":
            from documents import documents
            size = 0
            for document in documents(world, args.seed):
                size += f.write(SEPARATOR + document)
                if size >= args.megabytes * 1e6:
                    break
        else:
            for row in make_questions(world, args.seed, args.count):
                f.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
