// Prints a Fibonacci number: fibonacci(0) is 0, fibonacci(1) is 1, and each further one is the sum of the two before it.
#include <charconv>
#include <cstdint>
#include <iostream>
#include <string_view>

constexpr unsigned largest = 93; // the last one that 64 bits hold

std::uint64_t fibonacci(unsigned n) {
    std::uint64_t a = 0, b = 1;
    while (n--) {
        const auto sum = a + b;
        a = b;
        b = sum;
    }
    return a;
}

int main(int argc, char **argv) {
    const std::string_view word = argc == 2 ? argv[1] : "";
    unsigned n = 0;
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), n);
    if (error != std::errc{} || end != word.data() + word.size() || n > largest) {
        std::cerr << "usage: fibonacci N, with N from 0 to " << largest << "\n";
        return 2;
    }
    std::cout << "fibonacci(" << n << ") = " << fibonacci(n) << "\n";
}
