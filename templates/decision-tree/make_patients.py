"""Writes patients.csv: people who do not exist, with the columns of the well-known table on diabetes of the Pima.

No row is taken from that table. Each value is drawn from a distribution of roughly the shape that such a column has,
and whether somebody is ill is drawn with a probability that rises with glucose, body mass, age and family history.
The seed is fixed, so that everybody's table is the same: python3 make_patients.py > patients.csv
"""

import math
import random

SEED = 768
ROWS = 768
COLUMNS = "pregnancies,glucose,blood_pressure,skin_thickness,insulin,bmi,pedigree,age,diabetes"


def between(low: float, value: float, high: float) -> float:
    return max(low, min(value, high))


def patient(random: random.Random) -> list[str]:
    age = round(between(21, 21 + random.expovariate(1 / 12), 81))
    pregnancies = round(between(0, random.gauss((age - 18) / 5, 2), 15))
    bmi = between(18, random.gauss(32, 6.5), 60)
    glucose = round(between(55, random.gauss(98 + 0.3 * age + 0.4 * bmi, 28), 199))
    blood_pressure = round(between(40, random.gauss(52 + 0.25 * age + 0.3 * bmi, 11), 120))
    skin_thickness = round(between(7, random.gauss(0.9 * bmi, 7), 70))
    insulin = round(between(15, random.gauss(1.6 * glucose - 70, 60), 600))
    pedigree = between(0.08, random.expovariate(1 / 0.4) + 0.08, 2.4)
    leaning = 0.05 * (glucose - 135) + 0.10 * (bmi - 33) + 0.05 * (age - 33) + 1.2 * (pedigree - 0.5)
    diabetes = random.random() < 1 / (1 + math.exp(-1.6 * leaning))
    whole = [pregnancies, glucose, blood_pressure, skin_thickness, insulin]
    return [*map(str, whole), f"{bmi:.1f}", f"{pedigree:.3f}", str(age), str(int(diabetes))]


def main() -> None:
    source = random.Random(SEED)
    print(COLUMNS)
    for _ in range(ROWS):
        print(",".join(patient(source)))


if __name__ == "__main__":
    main()
