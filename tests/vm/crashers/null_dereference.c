// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0
// Loading this module writes to address 0: an oops, and with panic_on_oops a crash from die().
#include <linux/module.h>

static noinline void write_to_null(void)
{
	*(volatile int *)NULL = 1;
}

static int __init null_dereference_init(void)
{
	write_to_null();
	return 0;
}

module_init(null_dereference_init);
MODULE_DESCRIPTION("Dereferences a NULL pointer");
MODULE_LICENSE("GPL");
