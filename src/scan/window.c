/* SPDX-License-Identifier: MIT */
#include "scan/window.h"

void cleat__window_init(struct cleat__window *w, double first, double most)
{
	*w = (struct cleat__window){
		.size = first < most ? first : most,
		.threshold = most,
		.most = most,
	};
}

void cleat__window_grow(struct cleat__window *w)
{
	w->size += w->size < w->threshold ? 1 : 1 / w->size;
	if (w->size > w->most)
		w->size = w->most;
}

void cleat__window_yield(struct cleat__window *w, double part)
{
	w->size -= w->size * part / 2;
	if (w->size < 1)
		w->size = 1;
	w->threshold = w->size;
}

bool cleat__window_shrink(struct cleat__window *w, cleat_time sent,
			  cleat_time now)
{
	if (sent < w->cut)
		return false;
	cleat__window_yield(w, 1);
	w->cut = now;
	return true;
}
