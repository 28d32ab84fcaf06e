#ifndef GRID_H
#define GRID_H
#define GRID_SIZE 16

/* Cells, 1 where there is life. The edges meet. */
struct grid {
	unsigned char cell[GRID_SIZE][GRID_SIZE];
};

void grid_step(struct grid *grid);
int grid_population(const struct grid *grid);
#endif
