// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0
// Loading this module leaves the loading process in uninterruptible sleep: the hung task detector's case.
#include <linux/module.h>
#include <linux/sched.h>

static noinline void sleep_for_ever(void)
{
	for (;;) {
		set_current_state(TASK_UNINTERRUPTIBLE);
		schedule();
	}
}

static int __init hung_task_init(void)
{
	sleep_for_ever();
	return 0;
}

module_init(hung_task_init);
MODULE_DESCRIPTION("Sleeps uninterruptibly for ever");
MODULE_LICENSE("GPL");
