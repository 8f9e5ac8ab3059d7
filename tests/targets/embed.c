/* A program that is not Python's, with an interpreter in it: it runs the file that its last argument names. */
#include <Python.h>

int main(int count, char **words)
{
    FILE *file = fopen(words[count - 1], "r");
    if (file == NULL)
        return 2;
    Py_Initialize();
    int failed = PyRun_SimpleFile(file, words[count - 1]);
    fclose(file);
    return failed != 0;
}
