#include "grid.h"

static int neighbours(const struct grid *grid, int row, int column)
{
	int count = -grid->cell[row][column];

	for (int r = -1; r <= 1; r++)
		for (int c = -1; c <= 1; c++)
			count += grid->cell[(row + r + GRID_SIZE) % GRID_SIZE][(column + c + GRID_SIZE) % GRID_SIZE];
	return count;
}

void grid_step(struct grid *grid)
{
	struct grid before = *grid;

	for (int row = 0; row < GRID_SIZE; row++)
		for (int column = 0; column < GRID_SIZE; column++) {
			int count = neighbours(&before, row, column);

			grid->cell[row][column] = count == 3 || (count == 2 && before.cell[row][column]);
		}
}

int grid_population(const struct grid *grid)
{
	int population = 0;

	for (int row = 0; row < GRID_SIZE; row++)
		for (int column = 0; column < GRID_SIZE; column++)
			population += grid->cell[row][column];
	return population;
}
