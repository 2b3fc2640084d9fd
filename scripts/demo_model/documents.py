"""Text about the world: short documents of many kinds, drawn from one text seed."""

import random

from world import (ANIMALS, COLOURS, FOODS, INSTRUMENTS, JOBS, OBJECTS, PRODUCTS, QUESTIONS,
                   arithmetic_question)

# {s} subject, {p} possessive, {v} the fact; a sentence opens with {S} or {P}.
PERSON_SENTENCES = {
    "town": ("{S} lives in {v}.", "{S} has a house in {v}.", "{P} home is in {v}.",
             "These days {s} lives in {v}.", "You can find {o} in {v}."),
    "job": ("{S} works as a {v}.", "{S} is a {v}.", "By trade {s} is a {v}.",
            "{S} earns {p} living as a {v}.", "Everyone knows {o} as the {v}."),
    "food": ("{S} likes to eat {v}.", "{P} favourite food is {v}.", "Most of all {s} likes {v}.",
             "{S} would eat {v} every day.", "For supper {s} wants {v}."),
    "animal": ("{S} keeps a {v}.", "{S} has a {v} at home.", "{P} {v} follows {o} everywhere.",
               "Behind the house {s} keeps a {v}."),
    "colour": ("{P} favourite colour is {v}.", "{S} always wears {v}.", "{P} door is painted {v}.",
               "{S} likes the colour {v} best."),
    "instrument": ("{S} plays the {v}.", "In the evening {s} plays the {v}.",
                   "{S} learnt to play the {v}.", "{P} {v} can be heard at night."),
    "object": ("{S} owns a fine {v}.", "{S} would never sell {p} {v}.", "{P} {v} is very old.",
               "{S} takes {p} {v} everywhere."),
    "month": ("{S} was born in {v}.", "{P} birthday is in {v}.", "Every {v} {s} has a birthday."),
    "friend": ("{P} best friend is {v}.", "{S} often walks with {v}.",
               "{S} writes letters to {v}.", "{S} trusts {v} most."),
}

PLACE_SENTENCES = {
    "region": ("{n} is a town in {v}.", "{n} lies in {v}.", "You will find {n} in {v}."),
    "product": ("{n} is known for {v}.", "People come to {n} to buy {v}.",
                "The best {v} comes from {n}."),
    "river": ("The river {v} runs through {n}.", "{n} stands on the river {v}.",
              "Boats on the {v} stop at {n}."),
    "stone": ("The walls of {n} are made of {v}.", "{n} was built of {v}."),
    "mayor": ("The mayor of {n} is {v}.", "{n} chose {v} as its mayor."),
}

SMALL_TALK = ("The weather was fine.", "It rained all day.", "The wind came from the north.",
              "Nobody was in a hurry.", "The road was long.", "Snow lay on the roofs.",
              "It was market day.", "The bells rang.", "The sun went down early.",
              "The river was high.", "All was quiet.", "There was dust on the road.")
TIMES = ("One morning", "One evening", "Last week", "On Monday", "On Friday", "In spring",
         "Late at night", "Before noon", "At sunset", "In winter")


def article(word):
    return ("an " if word[0] in "aeiou" else "a ") + word


def sentence(rng, person, kind, named):
    """One fact about a person; by name, or by pronoun when the reader knows who is meant."""
    template = rng.choice(PERSON_SENTENCES[kind])
    value = person.facts[kind]
    name = person.name if rng.random() < 0.75 else person.first
    if named:
        subject, possessive, other = name, name + "'s", name
        # The second mention in a sentence is a pronoun.
        if "{S}" in template or "{s}" in template:
            possessive = person.possessive
        if "{P}" in template and "{o}" in template:
            other = person.object_form
    else:
        subject, possessive, other = person.pronoun, person.possessive, person.object_form
    text = template.format(S=subject[0].upper() + subject[1:], s=subject, v=value, o=other,
                           P=possessive[0].upper() + possessive[1:], p=possessive)
    return text.replace(" a owl", " an owl").replace(" a umbrella", " an umbrella")


def biography(world, rng):
    person = world.person_zipf.draw(rng)
    kinds = world.some_kinds(rng, world.person_kinds, rng.randint(2, 6))
    lines = []
    for i, kind in enumerate(kinds):
        lines.append(sentence(rng, person, kind, i == 0 or rng.random() < 0.3))
        if kind == "town" and rng.random() < 0.3:
            place = next(p for p in world.places if p.name == person.facts["town"])
            lines.append(about_place(rng, place, world.place_kinds.draw(rng)))
    return " ".join(lines)


def several_people(world, rng):
    lines = []
    for _ in range(rng.randint(2, 5)):
        person = world.person_zipf.draw(rng)
        lines.append(sentence(rng, person, world.person_kinds.draw(rng), True))
    return " ".join(lines)


def about_place(rng, place, kind):
    return rng.choice(PLACE_SENTENCES[kind]).format(n=place.name, v=place.facts[kind])


def place_note(world, rng):
    place = world.place_zipf.draw(rng)
    kinds = world.some_kinds(rng, world.place_kinds, rng.randint(2, 4))
    lines = [about_place(rng, place, kind) for kind in kinds]
    if rng.random() < 0.4:
        lines.append(rng.choice(SMALL_TALK))
    return " ".join(lines)


def questions(world, rng):
    lines = []
    for _ in range(rng.randint(2, 6)):
        which = rng.random()
        if which < 0.25:
            _, text, answer, _ = arithmetic_question(rng)
        else:
            if which < 0.85:
                thing, kind = world.person_zipf.draw(rng), world.person_kinds.draw(rng)
            else:
                thing, kind = world.place_zipf.draw(rng), world.place_kinds.draw(rng)
            text, answer = QUESTIONS[kind].format(n=thing.name), thing.facts[kind]
        lines.append(f"Question: {text} Answer: {answer}")
    return "\n".join(lines)


def sums(_world, rng):
    kind = rng.randrange(6)
    top = rng.choice((10, 20, 50, 100))
    lines = []
    if kind == 0:
        start, step = rng.randrange(0, 60), rng.choice((1, 1, 2, 3, 5, 10))
        return ", ".join(str(start + i * step) for i in range(rng.randint(5, 10)))
    for _ in range(rng.randint(3, 7)):
        a, b = rng.randrange(0, top), rng.randrange(0, top)
        if kind == 1:
            lines.append(f"{a} + {b} = {a + b}")
        elif kind == 2:
            lines.append(f"{max(a, b)} - {min(a, b)} = {max(a, b) - min(a, b)}")
        elif kind == 3:
            a, b = a % 12 + 1, b % 10 + 1
            lines.append(f"{a} x {b} = {a * b}")
        elif kind == 4:
            word = "equal to" if a == b else "greater than" if a > b else "less than"
            lines.append(f"{a} is {word} {b}.")
        else:
            _, text, answer, _ = arithmetic_question(rng)
            lines.append(f"Question: {text} Answer: {answer}")
    return "\n".join(lines)


def counting_story(world, rng):
    """A story with counts: the last number follows from it."""
    one, two = world.person_zipf.draw(rng), world.person_zipf.draw(rng)
    thing = rng.choice(("apples", "plums", "eggs", "coins", "candles", "nails", "pears", "cups"))
    a, b = rng.randrange(2, 20), rng.randrange(1, 12)
    lines = [f"{one.name} had {a} {thing}."]
    if rng.random() < 0.5:
        lines.append(f"{two.name} gave {one.object_form} {b} more.")
        total = a + b
    else:
        b = min(a, b)
        lines.append(f"{one.pronoun.capitalize()} gave {b} to {two.name}.")
        total = a - b
    if rng.random() < 0.5:
        lines.append(rng.choice(SMALL_TALK))
    lines.append(f"Now {one.first} has {total} {thing}.")
    return " ".join(lines)


def story(world, rng):
    """A walk through the world: an object changes hands, and the ending must agree."""
    hero, other = world.person_zipf.draw(rng), world.person_zipf.draw(rng)
    home, place = hero.facts["town"], world.place_zipf.draw(rng)
    thing = hero.facts["object"] if rng.random() < 0.6 else rng.choice(OBJECTS)
    colour = hero.facts["colour"] if rng.random() < 0.5 else rng.choice(COLOURS)
    lines = [f"{rng.choice(TIMES)} {hero.name}, the {hero.facts['job']}, went from {home} "
             f"to {place.name}."]
    lines.append(f"{hero.pronoun.capitalize()} carried {article(colour)} {thing}.")
    if rng.random() < 0.6:
        lines.append(rng.choice(SMALL_TALK))
    if rng.random() < 0.5:
        lines.append(about_place(rng, place, world.place_kinds.draw(rng)))
    lines.append(rng.choice((
        f"At the gate {hero.pronoun} met {other.name}, the {other.facts['job']}.",
        f"In {place.name} {hero.pronoun} saw {other.name}.",
        f"By the road sat {other.name} with a bowl of {other.facts['food']}.")))
    ending = rng.randrange(3)
    if ending == 0:
        lines.append(f'"What a fine {thing}," said {other.first}. So {hero.first} sold '
                     f"{other.object_form} the {colour} {thing}.")
        lines.append(f"In the end {other.first} had the {colour} {thing}.")
    elif ending == 1:
        lines.append(f"They ate {hero.facts['food']} and {other.first} played the "
                     f"{other.facts['instrument']}.")
        lines.append(f"Then {hero.first} took the {colour} {thing} home to {home}.")
    else:
        lines.append(f"{hero.first} lost the {thing}. {other.first} found it near {place.name}.")
        lines.append(f'"Here is your {colour} {thing}," said {other.first}.')
    return " ".join(lines)


def dialogue(world, rng):
    one, two = world.person_zipf.draw(rng), world.person_zipf.draw(rng)
    lines = [f"{one.first}: Good day, {two.first}."]
    asks = {"town": "Where do you live?", "job": "What is your work?", "animal": "What animal do "
            "you keep?", "food": "What do you like to eat?", "instrument": "What do you play?",
            "colour": "Which colour do you like?", "month": "When were you born?"}
    says = {"town": "I live in {v}.", "job": "I am a {v}.", "animal": "I keep a {v}.",
            "food": "I like {v}.", "instrument": "I play the {v}.", "colour": "I like {v}.",
            "month": "I was born in {v}."}
    lines.append(f"{two.first}: Good day. I am {two.name}.")
    for kind in rng.sample(list(asks), rng.randint(1, 3)):
        a, b = (one, two) if rng.random() < 0.7 else (two, one)
        lines.append(f"{a.first}: {asks[kind]}")
        lines.append(f"{b.first}: {says[kind].format(v=b.facts[kind])}")
    lines.append(f"{one.first}: " + rng.choice(("Goodbye.", "Farewell.", "Until tomorrow.",
                                                "I must go now.")))
    return "\n".join(lines)


def listing(world, rng):
    kind = rng.randrange(4)
    if kind == 0:
        items = rng.sample(FOODS + PRODUCTS, rng.randint(3, 6))
        person = world.person_zipf.draw(rng)
        return (f"Shopping list of {person.name}:\n"
                + "\n".join(f"- {rng.randint(1, 9)} {item}" for item in items)
                + f"\nThat is {len(items)} things.")
    words = rng.sample(rng.choice((FOODS, ANIMALS, OBJECTS, JOBS, INSTRUMENTS)), rng.randint(3, 6))
    if kind == 1:
        return (f"Words: {', '.join(words)}\nSorted: {', '.join(sorted(words))}\n"
                f"First: {words[0]}\nLast: {words[-1]}")
    if kind == 2:
        return f"Words: {' '.join(words)}\nReversed: {' '.join(reversed(words))}"
    return "\n".join(f"{i}. {word}" for i, word in enumerate(words, 1))


def code(world, rng):
    kind = rng.randrange(5)
    x, y = rng.sample(("a", "b", "n", "x", "y", "total", "count", "size"), 2)
    a, b = rng.randrange(0, 30), rng.randrange(1, 20)
    if kind == 0:
        op, value = rng.choice((("+", a + b), ("-", a - b), ("*", a * b)))
        return f"{x} = {a}\n{y} = {b}\nprint({x} {op} {y})  # {value}"
    if kind == 1:
        name, op = rng.choice((("add", "+"), ("sub", "-"), ("mul", "*")))
        value = {"+": a + b, "-": a - b, "*": a * b}[op]
        return (f"def {name}({x}, {y}):\n    return {x} {op} {y}\n\n"
                f"print({name}({a}, {b}))  # {value}")
    if kind == 2:
        person = world.person_zipf.draw(rng)
        kinds = world.some_kinds(rng, world.person_kinds, rng.randint(2, 4))
        fields = [f'"name": "{person.name}"'] + [f'"{k}": "{person.facts[k]}"' for k in kinds]
        return "{" + ", ".join(fields) + "}"
    if kind == 3:
        values = [rng.randrange(0, 50) for _ in range(rng.randint(3, 5))]
        return (f"{x} = {values}\nassert sorted({x}) == {sorted(values)}\n"
                f"assert max({x}) == {max(values)}\nassert len({x}) == {len(values)}")
    n = rng.randint(2, 6)
    return (f"for {x} in range({n}):\n    print({x})\n# "
            + " ".join(str(i) for i in range(n)))


def letter(world, rng):
    one = world.person_zipf.draw(rng)
    friend = one.facts["friend"] if rng.random() < 0.6 else world.person_zipf.draw(rng).name
    lines = [f"Dear {friend},", f"I write to you from {one.facts['town']}. "
             + rng.choice(SMALL_TALK)]
    about = world.person_zipf.draw(rng)
    lines.append("Did you hear about " + about.name + "? "
                 + sentence(rng, about, world.person_kinds.draw(rng), False))
    lines.append(f"My {one.facts['animal']} is well." if rng.random() < 0.5
                 else f"Please send me some {one.facts['food']}.")
    lines.append(f"Yours, {one.name}")
    return "\n".join(lines)


KINDS = ((biography, 26), (several_people, 12), (place_note, 9), (questions, 18), (sums, 9),
         (counting_story, 5), (story, 8), (dialogue, 6), (listing, 5), (code, 6), (letter, 5))


def documents(world, seed):
    """Endless documents; the same seed gives the same ones."""
    rng = random.Random(seed)
    makers = [maker for maker, _ in KINDS]
    weights = [weight for _, weight in KINDS]
    while True:
        yield rng.choices(makers, weights)[0](world, rng)
