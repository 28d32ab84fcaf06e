/* lifegame [STEPS]: lets a glider fly and prints where it is. */
#include <grid.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
	struct grid grid = {0};
	int steps = argc > 1 ? atoi(argv[1]) : 4;

	grid.cell[0][1] = grid.cell[1][2] = grid.cell[2][0] = grid.cell[2][1] = grid.cell[2][2] = 1;
	while (steps-- > 0)
		grid_step(&grid);
	for (int row = 0; row < GRID_SIZE; row++) {
		for (int column = 0; column < GRID_SIZE; column++)
			putchar(grid.cell[row][column] ? '#' : '.');
		putchar('\n');
	}
	printf("%d cells live\n", grid_population(&grid));
	return 0;
}
