/* Sends three lines of the connection `stream` back: two of them blocking, then one without blocking. */
#include "lines.h"

int main(void) {
    const int stream = 3;
    expect_files("4", "stdin:stdout:stderr:stream");
    send_line_back(stream);
    send_line_back(stream);
    do_not_block(stream);
    send_line_back(stream);
    return 0;
}
