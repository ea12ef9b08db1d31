// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0
// Loading this module spins with preemption off: the soft lockup detector's case.
#include <linux/module.h>
#include <linux/preempt.h>

static noinline void spin_for_ever(void)
{
	preempt_disable();
	for (;;)
		cpu_relax();
}

static int __init soft_lockup_init(void)
{
	spin_for_ever();
	return 0;
}

module_init(soft_lockup_init);
MODULE_DESCRIPTION("Occupies a processor for ever");
MODULE_LICENSE("GPL");
