"""What kinds of functions stand in a call trace that are not what one looks for.

Names of functions are facts of the kernel's sources; the file where each family is defined is named.
"""

import re
from typing import Final

# The functions by which the kernel reports; they are on the stack of every crash of their kind.
_REPORTER: Final = re.compile(
    r"v?panic|nmi_panic|check_panic_on_warn|__stack_chk_fail|dump_header|_*dump_stack(?:_lvl)?|show_stack"
    r"|show_trace_log_lvl|dump_backtrace|sched_show_task|dump_cpu_task|rcu_dump_cpu_stacks"
    r"|nmi_cpu_backtrace|nmi_trigger_cpumask_backtrace|(?:arch_)?trigger_\w*cpu\w*_backtrace\w*"
    r"|__warn|warn_slowpath_\w+|_*report_bug"
)
_SCHEDULER: Final = re.compile(r"__switch_to|_*(?:io_)?schedule(?:_\w+)?")
# Where an interrupt or NMI entered: after it comes what it interrupted.
_ENTRY: Final = re.compile(
    r"asm_(?:sysvec|common|exc_nmi)\w*|(?:smp_)?(?:apic_timer|call_function\w*|common|reschedule)_interrupt"
    r"|irq_work_interrupt|ret_from_intr|(?:end_)?repeat_nmi|nmi|el1h?(?:_64)?_(?:irq|fiq)|__irq_svc"
)

# How a trap or a report comes to be handled.
_MACHINERY: Final = re.compile(
    # kernel/panic.c, lib/dump_stack.c, lib/bug.c, lib/nmi_backtrace.c
    r"\w*panic\w*_print\w*|panic_on_\w+|\w+_panic_on_\w+|print_oops_end_marker|oops_(?:begin|end|enter|exit)"
    r"|warn_(?:slowpath|bogus)\w*|find_bug|__warn_printk|nmi_panic_self_stop|add_taint|print_tainted"
    r"|unwind_backtrace|show_regs\w*|__show_regs|show_trace\w*|walk_stack\w*|print_trace\w*|dump_mem"
    # arch/x86/kernel/traps.c, dumpstack.c, arch/x86/mm/fault.c, arch/x86/entry
    r"|_*die(?:_\w+)?|no_context|_*bad_area\w*|kernelmode_fixup_or_oops|page_fault_oops|pgtable_bad"
    r"|spurious_kernel_fault|(?:asm_)?exc_(?!nmi)\w+|(?:async_)?page_fault|_*do_(?:async_|kernel_"
    r"|user_addr_|bad_)?page_fault"
    r"|do_kern_addr_fault|do_user_addr_fault|trace_page_fault|handle_(?:page_fault|bug|invalid_op"
    r"|stack_overflow)"
    r"|fixup_bug|is_valid_bugaddr|do_error_trap|_*do_trap\w*|do_(?:invalid_op|divide_error|int3|bounds"
    r"|overflow"
    r"|general_protection|double_fault|stack_segment|segment_not_present|debug|nmi|coprocessor\w*|simd\w*"
    r"|device_not_available|alignment_check|invalid_tss|machine_check)|invalid_op|divide_error|double_fault"
    r"|general_protection|stack_segment|error_(?:entry|code|exit)|int3|(?:asm_)?ibt\w*|df_debug"
    r"|gp_try_fixup\w*"
    r"|early_(?:fixup|idt)\w*|x86_64_start_kernel_trap|default_do_nmi|exc_nmi\w*|nmi_handle"
    # arch/x86/kernel/cpu/mce
    r"|mce_panic|mce_timed_out|mce_reign|mce_end|_*do_machine_check|machine_check(?:_\w+)?"
    # arch/arm64, arch/arm, arch/riscv, arch/powerpc, arch/s390, arch/mips
    r"|arm64_notify_die|do_undefinstr|do_(?:mem_abort|sp_pc_abort|debug_exception|translation_fault"
    r"|tag_check_fault"
    r"|alignment_fault|tag_recovery|el1_\w+|DataAbort|PrefetchAbort|undefinstr|ptrauth_fault|bti"
    r"|cpu_irq_mask|sea)"
    r"|_*do_kernel_fault|do_(?:bad|sect_fault|bad_IRQ|page_fault)|el1_(?:abort|sync|dbg|undef|inv|da|ia|pc"
    r"|brk64|fpac)\w*"
    r"|el1h?_64_(?:sync|error)(?:_handler)?|el[01]t_64_error\w*|el1_sync_handler|brk_handler|bug_handler"
    r"|call_break_hook|call_el1_break_hook|ubsan_handler|kasan_handler|early_brk64|__bad_stack"
    r"|handle_bad_stack|panic_bad_stack|bad_mode|bad_el0_sync"
    r"|__panic_unhandled|__show_regs\w*|fixup_exception|__do_kernel_fault|__dabt_svc|__pabt_svc|__und_svc\w*"
    r"|do_trap_\w+|handle_exception|ret_from_exception|handle_break|die_kernel_fault|fault_in_kernel\w*"
    r"|program_check_(?:exception|common)\w*|handle_page_fault|_*handle_program_check|(?:data"
    r"|instruction)_access\w*|alignment_common|system_reset\w*"
    r"|interrupt_exit_kernel\w*|bad_page_fault|_exception(?:_pkey)?|__pgm_check_handler|pgm_check_handler"
    r"|do_dat_exception"
    r"|do_(?:ade|bp|ri|be|tlbl|tlbm)|ret_from_irq|resume_userspace|tlb_do_page_fault_\d"
    # mm/kasan, mm/kfence, mm/kmsan, kernel/kcsan, lib/ubsan.c
    r"|_*(?:kasan|kmsan|kfence|kcsan|hwasan|asan|msan|tsan|ubsan|hwasan_tag_mismatch)(?:_\w+)?"
    r"|print_(?:report|address_description|memory_metadata|error_description)\w*"
    r"|__?(?:asan|hwasan|msan|tsan|ubsan)_\w+|check_memory_region\w*|end_report|report_(?:invalid"
    r"|suppressed)\w*|object_err|handle_overflow"
    r"|check_(?:canary|region_inline)\w*|instrument_\w+|__sanitizer_\w+|double_free\w*|describe_\w+"
    r"|val_to_string|(?:read|write)_once_\w*nocheck|read_word_at_a_time|complete_report_info"
    # kernel/locking/lockdep.c, kernel/rcu/update.c
    r"|lockdep_\w+|print_(?:usage_bug|circular_bug|deadlock_bug|unlock_imbalance_bug|irqtrace_\w+"
    r"|bad_irq_dependency|kernel_ident)\w*"
    r"|(?:mark|check|validate|__lock|lock|register|find|get|add)_(?:lock|chain|prev|irq_usage|deadlock"
    r"|noncircular|usage|acquire|release|class|pin|unpin|held|lock_irq|cmp)(?:_\w+)?"
    r"|lock_(?:is_held\w*|acquire|release|set_class|downgrade|contended|acquired)|__lock_(?:acquire|release)"
    r"|(?:mark|reacquire)_held_locks|trace_(?:hard|soft)irqs_\w+|look_up_lock_class|debug_show_\w+"
    r"|debug_check_no_\w+"
    # kernel/watchdog.c, kernel/hung_task.c, kernel/rcu, kernel/time: who detects
    r"|watchdog(?:_\w+)?|is_softlockup|softlockup_\w+|check_hung_\w+|rcu_(?:check_callbacks"
    r"|sched_clock_irq|pending|stall_\w+)"
    r"|(?:_*print|check)_(?:other_)?cpu_stall\w*|print_other_cpu_stall|update_process_times|tick_(?:sched"
    r"|nohz|handle)\w*|_*hrtimer_run_queues"
    r"|hrtimer_interrupt|_*(?:sysvec|smp)_apic_timer_interrupt|local_apic_timer_interrupt"
    r"|perf_event_overflow|_*perf_event_nmi_handler"
    r"|intel_pmu_handle_irq|__perf_event_overflow|arch_timer_handler_\w+|handle_percpu_devid_irq"
    r"|show_state_filter|__xfer_irq|irq_regs\w*"
    r"|smp_send_\w+|el1_interrupt|el1h?_64_irq_handler|arm64_preempt\w*|call_on_irq_stack"
    r"|handle_riscv_irq|do_irq|generic_handle_arch_irq|smp_\w*apic_timer_interrupt_\w+|(?:raw_)?irqentry_\w+|smp_\w*apic_timer_interrupt\w*"
)

# The kernel's own checks: they find what their caller did.
_CHECK: Final = re.compile(
    # lib/list_debug.c, lib/refcount.c, lib/debugobjects.c, lib/plist.c
    r"_*list_(?:add|del)(?:_entry)?_valid(?:_or_report)?|_*list_(?:add|del)(?:_\w+)?|refcount_\w+"
    r"|_*kref_\w+|_*debug_object\w*|debug_print_object|plist_check\w*"
    r"|(?:timer|work|hrtimer|rcuhead)_(?:is_static_object|fixup_\w+)|check_(?:object|slab"
    r"|bytes_and_report)|slab_(?:bug|err|fix|pad_check)|check_bytes\w*"
    # lib/string_helpers.c, mm/usercopy.c, net/core/skbuff.c
    r"|_*fortify_(?:panic|report)|usercopy_(?:abort|warn)|_*check_(?:object_size|heap_object)"
    r"|check_(?:stack|kernel_text|page)\w*_object|copy_overflow|__copy_overflow"
    r"|skb_(?:panic|over_panic|under_panic|put|push|pull|trim)|skb_(?:push|pull|put)_\w+|pskb_(?:put"
    r"|expand_head)|skb_pull_rcsum|__skb_pull\w*"
    # kernel/sched/core.c, lib/smp_processor_id.c, mm/memory.c
    r"|_*might_(?:sleep|resched|fault)\w*|_*schedule_bug|schedule_debug|preempt_count_(?:add|sub)"
    r"|check_preemption_disabled|debug_smp_processor_id"
    r"|__this_cpu_preempt_check|__cant_(?:sleep|migrate)|preempt_schedule\w*|__schedule_out\w*"
    r"|_*local_bh_(?:en|dis)able\w*|_*bh_(?:en|dis)able\w*"
    # mm/page_alloc.c, mm/debug.c, mm/util.c, arch/x86/mm/physaddr.c, mm/slab_common.c
    r"|bad_page|dump_page|free_page_is_bad|check_free_page\w*|free_pages_check\w*|__phys_addr\w*"
    r"|__virt_addr_valid|warn_alloc\w*|page_bad_reason"
    # kernel/locking: checks of locks
    r"|spin_(?:bug|dump)|rwlock_bug|do_raw_(?:spin|read|write)_(?:lock|unlock|trylock)\w*|debug_mutex_\w+"
    r"|debug_rt_mutex\w*|__might_\w+|DEBUG_\w+"
    # lib/ref_tracker.c, lib/kobject.c, fs/xfs, fs/btrfs, OpenZFS (module/os/linux/spl)
    r"|ref_tracker_\w+|assfail|asswarn\w*|btrfs_assertfail|assertfail|spl_(?:panic|dumpstack|assert)"
    r"|luserr\w*|vcmn_err|cmn_err|zfs_panic_recover|vpanic|libcfs_\w*assertion\w*|lbug_with_loc"
    r"|ext4_handle_error|__ext4_(?:std_)?error\w*|kernel_bad_stack|kunit_\w+|trace_(?:event|raw"
    r"|define)_\w*|perf_trace_\w*"
    r"|drop_nlink|(?:__)?warn_on_\w+"
)

# Helpers of the library that fail by what they are given.
_LIBRARY: Final = re.compile(
    # lib/string.c, lib/vsprintf.c, arch/*/lib
    r"_*(?:fortify_)?mem(?:cpy|set|move|cmp|chr|dup|scan|dup_user)(?:_\w+)?|_*str(?:len|nlen|cmp|ncmp"
    r"|casecmp|ncasecmp|cpy|ncpy|lcpy|scpy|cat|ncat|lcat|chr|rchr|nchr|str|nstr|dup|ndup|sep|pbrk|spn|cspn"
    r"|replace|im|scpy_pad|chrnul|ncpy_from_user|nlen_user)(?:_\w+)?"
    r"|kstr(?:dup|ndup|to)\w*|kmemdup\w*|rep_(?:movs|stos)\w*|_*(?:vs|s|vsn|sn|vscn|scn|kas|kvas)n?printf"
    r"|(?:string|number|pointer|format_decode|va_format|resource_string|symbol_string|ptr_to_id"
    r"|restricted_pointer|bitmap_string|hex_string|uuid_string|dentry_name|widen_string|check_pointer\w*"
    r"|string_nocheck|error_string|ip[46]?_addr_string\w*|mac_address_string|device_node_string)"
    r"|_*v?printk\w*|vprintk_\w+|console_unlock|dev_(?:printk\w*|info|notice|warn|err|alert|crit|emerg)"
    r"|_dev_\w+|__dev_printk|__dynamic_\w+|hex_dump_to_buffer|print_hex_dump\w*"
    r"|_*(?:sw_)?hweight\d+|crc\w*_(?:le|be|update|pcl|arch|generic)|crc\d+\w*|bitmap_\w+|_*find_(?:first"
    r"|next|last)_(?:zero_|and_)?bit\w*|csum_partial\w*|_*do_csum|(?:set|clear|change|test)_(?:and_(?:set"
    r"|clear|change)_)?bit\w*"
    # lib: rbtree.c, radix-tree.c, xarray.c, idr.c, llist.c, klist.c, rhashtable.c, maple_tree.c
    r"|_*rb_(?:\w+)|radix_tree_\w+|_*xas?_\w+|idr_\w+|ida_\w+|llist_\w+|klist_\w+|_*hlist_\w+"
    r"|_*rhashtable_\w+|rht_\w+|_*list_(?:splice|move|replace|sort|cut|lru)\w*|interval_tree_\w+|mas_\w+"
    r"|mtree_\w+|percpu_ref_\w+|percpu_counter_\w+|__percpu_counter\w*"
    r"|_*(?:raw_)?atomic\w*|arch_atomic\w*|read_seq\w*|seqprop\w*|_*(?:read|write|io(?:read"
    r"|write))(?:[bwlq]|8|16|32|64)(?:_\w+)?|logic_(?:in|out)\w*|in(?:b|w|l)|out(?:b|w|l)"
    # uaccess, lib/iov_iter.c
    r"|_*(?:raw_)?copy_(?:to|from|in|user)\w*|_*copy_(?:page|folio)_\w+|copyin|copyout|_*(?:put|get"
    r"|clear)_user\w*|_*(?:probe_kernel|copy_(?:from|to)_kernel)\w*|iov_iter_\w+|iterate_\w+"
    r"|csum_and_copy\w*|extract_(?:user|iter)\w*|_*import_iovec\w*|_*copy_mc\w*"
    # the allocators: who uses freed memory finds the others' damage
    r"|_*(?:kv?|kvm?|vm?|d|k?mem_?)[mzc]?alloc(?:_\w+)?|_*kv?(?:m|z|c)alloc\w*|_*kmem_cache_\w+|_*kfree\w*"
    r"|_*kvfree\w*|krealloc\w*|_*k?mem(?:dup|pool)_(?:alloc|free|kmalloc|kfree)\w*|_*slab_\w+|_*(?:get"
    r"|put)_(?:partial|cpu_partial|freelist)\w*|new_slab\w*|allocate_slab|setup_object\w*|deactivate_slab"
    r"|unfreeze_partials|flush_slab|(?:cache|free)_(?:grow|block|alloc_refill|debug)\w*"
    r"|free_(?:to_partial\w*|debug_processing|consistency_checks)|alloc_debug_processing|init_object"
    r"|_*q(?:link|uarantine|list)_\w+"
    r"|_*(?:alloc|free)_(?:frozen_)?pages?(?:_\w+)?|__get_free_pages|get_(?:page|zeroed_page)_\w+"
    r"|get_page_from_freelist|rmqueue\w*|post_alloc_hook|prep_new_page|free_(?:the_page|unref_\w+|pcp\w*"
    r"|pcppages\w*|compound\w*|one_page)|alloc_(?:pages?|slab|folio)\w*|folio_alloc\w*|_*vmalloc\w*"
    r"|vmap\w*|_*vunmap\w*|_*vfree\w*|dma_alloc\w*|_*pcpu?_alloc\w*|alloc_percpu\w*|free_percpu"
    # locks
    r"|_*(?:raw_)?(?:spin|read|write|seq)_(?:lock|unlock|trylock)\w*|raw_spin_rq\w*|(?:native_|__pv_"
    r"|_*)?queued_(?:spin|read|write)_\w+|pv_\w*lock\w*|virt_spin_lock|osq_(?:un)?lock|kvm_wait"
    r"|arch_spin_\w+|ticket_spin\w*|_*mutex_\w+|_*ww_mutex\w*|_*rt_(?:mutex|spin)\w*|rt_(?:read"
    r"|write)\w*lock\w*|_*rwbase\w*|(?:_*|r?w?sem_)(?:down|up)(?:_read|_write|_trylock|_interruptible"
    r"|_killable|_timeout)*(?:_\w+)?|rwsem_\w+|owner_on_cpu|call_rwsem\w*|_*percpu_(?:down|up|rwsem)\w*"
    r"|lock_page\w*|_*folio_(?:un)?lock\w*|unlock_page|bit_spin_\w+|hlist_bl_\w+|lock_timer_base"
    r"|_*lockref_\w+"
    # waking, timers, work: a queue that its owner freed
    r"|_*wake_up\w*|try_to_wake_up|default_wake_function|autoremove_wake_function|_*complete(?:_all"
    r"|_with_flags)?|swake_up\w*|prepare_to_(?:wait|swait)\w*|finish_(?:s?wait)|_*(?:mod|del|add)_timer\w*"
    r"|(?:del|try_to_del)_timer\w*|_*timer_delete\w*|detach_(?:if_pending|timer)"
    r"|(?:debug_)?(?:de)?activate\w*|_*queue_(?:work|delayed_work)\w*|insert_work\w*"
    r"|_*(?:un)?map_kernel\w*"
    # drivers/base, lib/kobject.c
    r"|device_(?:add|del|register|unregister|create|destroy)\w*|kobject_\w+|_*kset_\w+|add_uevent_var"
    r"|k(?:ref|obj)_\w+"
    # a jump by a pointer
    r"|__x86_(?:indirect_thunk|return_thunk)\w*|_*x86_indirect\w*|_*srso\w*|retbleed\w*|\w*_thunk_\w+"
)

# Where a task waits: for a lock, a grace period, an event, another task.
_WAIT: Final = re.compile(
    r"_*(?:io_)?schedule\w*|__switch_to\w*|context_switch|__preempt_schedule\w*|preempt_schedule\w*"
    r"|(?:raw_)?irqentry_exit\w*|_*cond_resched\w*|yield\w*|do_(?:nano)?sleep\w*|msleep\w*|usleep_range\w*"
    r"|fsleep|(?:hrtimer|clock)_nanosleep\w*|common_nsleep\w*|schedule_hrtimeout\w*|el1_interrupt"
    r"|arm64_preempt\w*|resume_kernel"
    r"|_*(?:mutex|ww_mutex|rt_mutex|rtmutex|rt_spin|rwbase|rwsem|semaphore)\w*|_*down(?:_\w+)?"
    r"|_*rt_mutex\w*|(?:native_|__pv_)?queued_\w+lock_slowpath|_*raw_\w*lock\w*|__sched_text\w*"
    r"|_*percpu_(?:down|rwsem)\w*|call_rwsem\w*|__rw\w*sem\w*"
    r"|rtnl_(?:lock|trylock|net_lock)\w*|rtnetlink_rcv|genl_(?:lock|rcv)\w*|nfnl_lock\w*|ops_lock"
    r"|dev_(?:lock|get_lock)\w*|netdev_lock\w*|(?:device|dev|usb_lock|hub|cgroup|mmap|inode|lru|tty|cpus?"
    r"|cpu_hotplug|console|vm_ops|kernfs|sb|super|pipe|ovl|uart|cpu_maps|namespace|mem_hotplug|get_online"
    r"|get_mems_online)_(?:lock|read_lock|write_lock|update|begin|shared|mems|cpus)(?:_\w+)?"
    r"|lock_(?:device_hotplug|rename|two_\w+|super|sock\w*|mount|mm\w*|vma\w*|buffer|page\w*|system_sleep"
    r"|extent\w*)|_*lock_(?:sock|page|buffer|rename|metapage|super|two)\w*|_*folio_lock\w*|__super_lock"
    r"|super_lock\w*|grab_super\w*|iterate_supers_type_lock|inode_lock\w*|pipe_lock\w*|tty_(?:lock"
    r"|ldisc_lock)\w*|__tty_ldisc_lock\w*|ldsem_down\w*|_*ldsem_\w+|mmap_\w*lock\w*|cgroup_(?:lock"
    r"|kn_lock_live)\w*|i_mmap_lock\w*|fdget_pos|__fdget_pos"
    r"|_*wait_(?:for|on|event|woken|queue|common|rcu|bit)\w*|wait|do_wait\w*|downgrade_write"
    r"|lock_downgrade|_*bit_wait\w*|out_of_line_wait\w*|_*wait|\w+_wait_io|_*futex_wait\w*"
    r"|\w*(?:_timed)?_?waitqueue\w*|swait_\w+|prepare_to_\w*wait\w*|_*inode_wait\w*|wb_wait\w*"
    r"|folio_wait\w*|\w*wait_for_completion\w*|blk_(?:mq_)?(?:freeze|quiesce)\w*|bio_await\w*"
    r"|\w+_wait_freeze|_*sync_(?:inode|dirty_buffer)\w*_wait"
    r"|_*synchronize_\w+|_*rcu_barrier\w*|_*srcu_barrier|_*wait_rcu\w*|rcu_sync_\w+|exp_funnel_lock"
    r"|expedited_\w+|\w*sync_rcu\w*|cleanup_srcu\w*|kvfree_rcu_barrier\w*"
    r"|_*flush_(?:work|workqueue|delayed_work|rcu_work|scheduled_work|all_work)\w*|_*cancel_(?:work"
    r"|delayed_work)\w*|_*drain_workqueue|start_flush_work|touch_wq\w*|disable_(?:delayed_)?work_sync"
    r"|destroy_workqueue|kthread_(?:stop|park|flush\w*|unpark|create\w*|queue\w*|cancel\w*)"
    r"|__kthread_(?:create|parkme)\w*|stop_(?:machine\w*|cpus?|one_cpu|two_cpus)|__stop_cpus"
    r"|on_each_cpu\w*|lru_add_drain\w*|tasklet_(?:kill|unlock)\w*|del_timer_sync|timer_delete_sync"
    r"|hrtimer_cancel|disable_irq|synchronize_irq|free_irq|usb_kill_urb|usb_(?:start_wait"
    r"|kill_anchored)_\w+|usb_poison\w*|(?:cpu|cpus)_read_lock|refrigerator|__refrigerator"
    r"|try_to_freeze\w*|async_synchronize\w*|call_usermodehelper_exec|i_?set_lock\w*"
    # OpenZFS and its SPL
    r"|_*cv_(?:wait|timedwait)\w*|zio_wait|txg_(?:wait_\w+|quiesce)|rrw_enter\w*|rrm_enter\w*"
    r"|rrw_\w*enter\w*|taskq_wait\w*|dmu_tx_wait|spa_config_enter\w*|spl_mutex\w*|zfs_range\w*lock\w*"
    r"|zfs_rangelock_enter\w*|dbuf_read_\w*wait"
)

# Names that say that it waits, of functions of the kernel itself.
_WAIT_NAME: Final = re.compile(
    r"\w*_?wait_(?:for|on|event|woken|queue|until|iff|bit|io|sync|killable|common|interruptible|synced|list"
    r"|lock|uninterruptible)(?:_\w+)?|_*wait_\w+"
)

# What calls on behalf of everything: below it a trace tells nothing.
_DISPATCHER: Final = re.compile(
    r"process_(?:one_work|scheduled_works)|worker_thread|kthread\w*|ret_from_\w+|smpboot_thread_fn"
    r"|run_ksoftirqd|thread_generic_wrapper|taskq_thread"
    r"|_*do_(?:fast_)?syscall_\w+|_*entry_(?:SYSCALL|SYSENTER|INT80)\w*|system_call\w*|sysenter_\w+"
    r"|tracesys\w*|_*ia32_\w*sys\w*|do_int80\w*|x64_sys_call|ia32_sys_call|stub_\w+"
    r"|el0_svc\w*|el0t?_\w*sync\w*|invoke_syscall\w*|do_el0_svc|ret_fast_syscall|do_trap_ecall_u"
    r"|ret_from_syscall|system_call_exception|syscall_exit\w*|swi_sys\w*"
    r"|_*do_softirq\w*|handle_softirqs|irq_exit\w*|_*irq_exit_rcu|invoke_softirq|softirq_\w+|call_softirq"
    r"|do_IRQ|handle_irq\w*|_*handle_domain_irq|gic_handle_irq|common_interrupt|_*common_interrupt"
    r"|call_on_\w*stack|_*sysvec_\w+|el1_interrupt|el1h_64_irq_handler|do_interrupt_handler"
    r"|irq_work_run\w*|_*run_(?:irq_workqueue|timers?)\w*|call_timer_fn|expire_timers|run_timer_softirq"
    r"|run_timer_base|tasklet_\w*action\w*|net_(?:rx|tx)_action|_*napi_poll|__?hrtimer_\w+|rcu_(?:core"
    r"|do_batch|process_callbacks|core_si)|blk_done_softirq|blk_complete_reqs|run_rebalance_domains"
    r"|(?:start_secondary|start_kernel|cpu_startup_entry|secondary_start_kernel|_*secondary_switched"
    r"|secondary_startup_64\w*|x86_64_start_\w+|rest_init|do_idle|cpu_idle\w*|default_idle\w*"
    r"|arch_cpu_idle|arch_call_rest_init|common_startup_64|call_cpuidle|cpuidle_(?:enter|idle_call)\w*)"
    r"|vfs_(?:write|read|ioctl|iter_read|iter_write|readv|writev|open|fsync\w*)|_*ksys_\w+|do_(?:iter"
    r"|loop)_(?:read|write|readv)\w*|do_(?:readv|writev|preadv|pwritev)\w*|_*vfs_(?:read|write)"
    r"|new_sync_(?:read|write)|call_(?:read|write)_iter|__kernel_(?:read|write)|kernel_(?:read|write)"
    r"|do_vfs_ioctl|ioctl_\w+|_*blkdev_(?:driver_)?ioctl|compat_(?:blkdev_)?ioctl|block_ioctl|call_mmap"
    r"|mmap_region|_*mmap_region|do_mmap|vm_mmap_pgoff|do_dentry_open|path_openat|do_filp_open"
    r"|do_sys_open\w*|do_o_path|full_proxy_\w+"
    r"|_*sock_(?:sendmsg|recvmsg|release|close|do_ioctl|ioctl|write_iter|read_iter|common_\w+|mmap|poll"
    r"|setsockopt)\w*|_*sys_(?:sendmsg|recvmsg|sendmmsg|recvmmsg|sendto|recvfrom|connect|accept\w*|bind"
    r"|listen|setsockopt|getsockopt|socketpair|socket)|_{2,4}sys_\w+|kernel_(?:setsockopt|getsockopt"
    r"|listen|accept|connect|bind|sendmsg|recvmsg|sendpage)|do_sock_(?:set|get)sockopt|sk_common_release"
    r"|inet_(?:release|ioctl|sendmsg|recvmsg)|inet6_(?:release|ioctl|sendmsg|recvmsg)|netlink_(?:rcv_skb"
    r"|unicast\w*|sendmsg|dump)|_*netlink_dump\w*|rtnetlink_rcv(?:_msg)?|genl_(?:rcv|rcv_msg"
    r"|family_rcv_msg\w*)|nfnetlink_rcv\w*|_*netif_receive_skb\w*"
    r"|_*fput\w*|task_work_run|exit_to_user\w*|_*exit_to_user_mode\w*|syscall_exit_\w+|do_(?:group_)?exit"
    r"|get_signal\w*|do_signal\w*|arch_do_signal\w*|resume_user_mode\w*|do_notify_resume"
    r"|prepare_exit_to_usermode|exit_task_work|_*cleanup_net|ops_(?:exit|init|free)_list\w*|ops_undo_list"
    r"|_*(?:__)?handle_mm_fault|do_(?:anonymous_page|fault\w*|wp_page|user_addr_fault|read_fault|cow_fault"
    r"|shared_fault)|handle_pte_fault|_*do_fault|smp_call_function\w*|_*flush_smp_call_function\w*"
    r"|generic_smp_call\w*|on_each_cpu\w*|do_one_initcall|do_init\w*|kernel_init\w*|load_module"
    r"|do_init_module|init_module_from_file|idempotent_init_module|_*do_sys_(?:finit|init)_module"
    r"|_*sys_\w+"
)
_CALL_PREFIX: Final = re.compile(
    r"^_{0,2}(?:(?:(?:x64|ia32|arm64|se|do|riscv|s390x?)_)?(?:compat_)?(?:k?sys)|SYSC|SyS|compat_(?:SYSC"
    r"|SyS))_(?=\w)"
)


def without_suffix(function: str) -> str:
    """A function's name without what a compiler added: ``.cold``, ``.part.0``, ``.isra.0``, ``.llvm.1``."""
    base, dot, _ = function.partition(".")
    return base if dot and base else function


def folded(function: str) -> str:
    """A function's name without suffix, all layers of one system call under one name."""
    base = without_suffix(function)
    return _CALL_PREFIX.sub("sys_", base)


def is_reporter(function: str) -> bool:
    """Tell if the kernel reports by it."""
    return _is(_REPORTER, function)


def is_entry(function: str) -> bool:
    """Tell if an interrupt or NMI entered there."""
    return _is(_ENTRY, function)


def is_plain(function: str) -> bool:
    """Tell if it is neither the reporting, nor the scheduler, nor an interrupt's entry."""
    return not (is_reporter(function) or _is(_SCHEDULER, function) or is_entry(function))


def is_telling(function: str) -> bool:
    """Tell if a fault in it can be its own: it is no machinery, no check and no library helper."""
    return is_plain(function) and not any(_is(kind, function) for kind in (_MACHINERY, _CHECK, _LIBRARY))


def is_wait(function: str) -> bool:
    """Tell if it is one of the kernel's ways to wait: for a lock, a grace period, an event, another task."""
    return _is(_WAIT, function)


def says_wait(function: str) -> bool:
    """Tell if its name says that it waits."""
    return _is(_WAIT_NAME, function)


def is_dispatcher(function: str) -> bool:
    """Tell if it calls on behalf of everything, so that it tells nothing."""
    return _is(_DISPATCHER, function)


def _is(kind: re.Pattern[str], function: str) -> bool:
    return kind.fullmatch(without_suffix(function)) is not None
