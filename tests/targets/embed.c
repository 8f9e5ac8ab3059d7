/* A program that is not Python's, with an interpreter in it: it runs the file that its last argument names. By the
   variable EMBED it does something more, for each line of stdin or until there is one:
   `early`: it waits before it makes the interpreter; `late`: after it has ended it; `early-late`: it makes none.
   `keeping`: it runs each line as Python, and keeps the GIL while it waits for the next one.
   `places`: it makes three sub-interpreters, each with a module `shop` whose `place` is its number; after its file it says
   `listening`, and each line is the number of one to end. */
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

#define PLACES 3

static PyThreadState *places[PLACES];

static int make_places(PyThreadState *main_state)
{
    int failed = 0;
    for (int i = 0; i < PLACES; i++) {
        char code[200];
        snprintf(code, sizeof code, "import sys\nshop = type(sys)('shop')\nshop.place = %d\nsys.modules['shop'] = shop\n", i);
        places[i] = Py_NewInterpreter();
        failed |= places[i] == NULL || PyRun_SimpleString(code);
        PyThreadState_Swap(main_state);
    }
    return failed;
}

static int next_line(void)
{
    int there;
    Py_BEGIN_ALLOW_THREADS
    there = wait_for_a_line();
    Py_END_ALLOW_THREADS
    return there;
}

static void end_places(PyThreadState *main_state)
{
    /* The file's reader may take more from stdin than its line. */
    say("listening\n");
    while (next_line()) {
        int number = atoi(line);
        if (number < 0 || number >= PLACES || places[number] == NULL)
            continue;
        PyThreadState_Swap(places[number]);
        Py_EndInterpreter(places[number]);
        PyThreadState_Swap(main_state);
        places[number] = NULL;
        say("done\n");
    }
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
    PyThreadState *main_state = PyThreadState_Get();
    int failed = strcmp(mode, "places") == 0 && make_places(main_state);
    failed |= PyRun_SimpleFile(file, words[count - 1]);
    fclose(file);
    if (strcmp(mode, "keeping") == 0)
        while (wait_for_a_line())
            failed |= PyRun_SimpleString(line);
    if (strcmp(mode, "places") == 0)
        end_places(main_state);
    if (strcmp(mode, "late") == 0) {
        Py_Finalize();
        say("finalised\n");
        wait_for_a_line();
    }
    return failed != 0;
}
