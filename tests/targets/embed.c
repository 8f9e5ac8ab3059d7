/* A program that is not Python's, with an interpreter in it: it runs the file that its last argument names. By the
   variable EMBED it does something more, for each line of stdin or until there is one:
   `early`: it waits before it makes the interpreter; `late`: after it has ended it; `early-late`: it makes none.
   `keeping`: it runs each line as Python, and keeps the GIL while it waits for the next one. */
#include <Python.h>
#include <unistd.h>

static char line[4096];

static int wait_for_a_line(void)
{
    ssize_t n = read(0, line, sizeof line - 1);
    line[n < 0 ? 0 : n] = 0;
    return n > 0;
}

static void say(const char *word)
{
    /* Nothing of Python's, and no buffer that Python would not know of. */
    if (write(1, word, strlen(word)) < 0)
        _exit(3);
}

int main(int count, char **words)
{
    const char *mode = getenv("EMBED");
    mode = mode == NULL ? "" : mode;
    FILE *file = fopen(words[count - 1], "r");
    if (file == NULL)
        return 2;
    if (strncmp(mode, "early", 5) == 0) {
        say("ready\n");
        wait_for_a_line();
    }
    if (strcmp(mode, "early-late") == 0)
        return 0;
    Py_Initialize();
    int failed = PyRun_SimpleFile(file, words[count - 1]);
    fclose(file);
    if (strcmp(mode, "keeping") == 0)
        while (wait_for_a_line())
            failed |= PyRun_SimpleString(line);
    if (strcmp(mode, "late") == 0) {
        Py_Finalize();
        say("finalised\n");
        wait_for_a_line();
    }
    return failed != 0;
}
