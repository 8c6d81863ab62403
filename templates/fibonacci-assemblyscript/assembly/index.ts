// Prints a Fibonacci number: fibonacci(0) is 0, fibonacci(1) is 1, and each further one is the sum of the two before it.

const LARGEST: u64 = 93; // the last one that 64 bits hold

function fibonacci(n: u64): u64 {
  let a: u64 = 0;
  let b: u64 = 1;
  for (let i: u64 = 0; i < n; i++) {
    const sum = a + b;
    a = b;
    b = sum;
  }
  return a;
}

// The number that a word says, or one that is too large.
function parse(word: string): u64 {
  let n: u64 = 0;
  for (let i = 0; i < word.length; i++) {
    const digit = word.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9 || n > LARGEST) return LARGEST + 1;
    n = n * 10 + <u64>digit;
  }
  return word.length > 0 ? n : LARGEST + 1;
}

const n = process.argv.length == 2 ? parse(process.argv[1]) : LARGEST + 1;
if (n > LARGEST) {
  process.stderr.write("usage: fibonacci N, with N from 0 to 93\n");
  process.exit(2);
}
process.stdout.write("fibonacci(" + n.toString() + ") = " + fibonacci(n).toString() + "\n");
