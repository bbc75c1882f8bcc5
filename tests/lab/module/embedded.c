// SPDX-License-Identifier: GPL-2.0
/*
 * For tests only: lend the netdevs of igb what the driver lacks and QEMU's emulated card has.
 *
 * - The switch between the VFs: ndo_bridge_setlink and ndo_bridge_getlink turn IFLA_BRIDGE_MODE into the
 *   loopback bit of the card's DTXSWC register (drivers/net/ethernet/intel/igb/e1000_regs.h and
 *   e1000_82575.h: E1000_DTXSWC, E1000_DTXSWC_VMDQ_LOOPBACK_EN; hw/net/igb_core.c in QEMU obeys it).
 *   As ixgbe has it (ixgbe_main.c, ixgbe_ndo_bridge_setlink), there is a switch only with VFs or stations.
 * - Forwarding stations (VMDq): ndo_dfwd_add_station and ndo_dfwd_del_station count, up to a limit, and the
 *   netdev gets the feature "l2-fwd-offload".
 *
 * Everything is put back when the module or the netdev goes.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/ethtool.h>
#include <linux/if_bridge.h>
#include <linux/if_macvlan.h>
#include <linux/io.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/pci.h>
#include <linux/rtnetlink.h>
#include <net/netlink.h>

#define DTXSWC			0x3500
#define DTXSWC_LOOPBACK		BIT(31)

static bool nohwmode;
module_param(nohwmode, bool, 0644);
MODULE_PARM_DESC(nohwmode, "answer that the mode of the switch cannot be set or read, as igb itself does");

static uint pools = 4;
module_param(pools, uint, 0644);
MODULE_PARM_DESC(pools, "how many forwarding stations a netdev grants");

static bool fixed;
module_param(fixed, bool, 0444);
MODULE_PARM_DESC(fixed, "l2-fwd-offload is not changeable (and off)");

static uint stations;
module_param(stations, uint, 0444);
MODULE_PARM_DESC(stations, "how many forwarding stations are granted now, on all netdevs (read only)");

/* One netdev of igb, and what it had before. */
struct loan {
	struct list_head list;
	struct net_device *dev;
	const struct net_device_ops *before;
	struct net_device_ops ops;
	void __iomem *registers;
	uint granted;
	bool vepa;
};

static LIST_HEAD(loans);	/* under RTNL, as all callers are */

static struct loan *loan_of(struct net_device *dev)
{
	return container_of(dev->netdev_ops, struct loan, ops);
}

static bool has_switch(struct loan *loan)
{
	return !nohwmode && (pci_num_vf(to_pci_dev(loan->dev->dev.parent)) || loan->granted);
}

static void set_vepa(struct loan *loan, bool vepa)
{
	void __iomem *reg = loan->registers + DTXSWC;

	writel(vepa ? readl(reg) & ~DTXSWC_LOOPBACK : readl(reg) | DTXSWC_LOOPBACK, reg);
	loan->vepa = vepa;
}

static int embedded_setlink(struct net_device *dev, struct nlmsghdr *nlh, u16 flags, struct netlink_ext_ack *extack)
{
	struct loan *loan = loan_of(dev);
	struct nlattr *attr, *spec;
	int rem;

	if (!has_switch(loan))
		return -EOPNOTSUPP;
	spec = nlmsg_find_attr(nlh, sizeof(struct ifinfomsg), IFLA_AF_SPEC);
	if (!spec)
		return -EINVAL;
	nla_for_each_nested(attr, spec, rem) {
		if (nla_type(attr) != IFLA_BRIDGE_MODE)
			continue;
		if (nla_len(attr) < sizeof(u16) || nla_get_u16(attr) > BRIDGE_MODE_VEPA)
			return -EINVAL;
		set_vepa(loan, nla_get_u16(attr) == BRIDGE_MODE_VEPA);
	}
	return 0;
}

static int embedded_getlink(struct sk_buff *skb, u32 pid, u32 seq, struct net_device *dev, u32 filter_mask, int nlflags)
{
	struct loan *loan = loan_of(dev);
	u16 mode = readl(loan->registers + DTXSWC) & DTXSWC_LOOPBACK ? BRIDGE_MODE_VEB : BRIDGE_MODE_VEPA;

	if (!has_switch(loan))
		return 0;
	return ndo_dflt_bridge_getlink(skb, pid, seq, dev, mode, 0, 0, nlflags, filter_mask, NULL);
}

/*
 * A real driver gives the station a queue of its own and filters for its MAC, and macvlan therefore leaves that
 * MAC out of the unicast list (drivers/net/macvlan.c, macvlan_open). Here the frames take the usual way through
 * macvlan's receive handler, so the card need only let them in: promiscuous, which is no entry in the list.
 * Private data for the station must not be NULL; the loan serves.
 */
static void *embedded_add_station(struct net_device *dev, struct net_device *upper)
{
	struct loan *loan = loan_of(dev);
	int error;

	/* As ixgbe and i40e have it: only where macvlan's own filter by destination is enough. */
	if (!macvlan_supports_dest_filter(upper))
		return ERR_PTR(-EMEDIUMTYPE);
	if (loan->granted >= pools)
		return ERR_PTR(-EBUSY);
	error = dev_set_promiscuity(dev, 1);
	if (error)
		return ERR_PTR(error);
	stations++;
	/* With the first one the switch comes into being, in VEB: ixgbe_main.c, ixgbe_fwd_add. */
	if (!loan->granted++ && !pci_num_vf(to_pci_dev(dev->dev.parent)))
		set_vepa(loan, false);
	return loan;
}

static void embedded_del_station(struct net_device *dev, void *station)
{
	struct loan *loan = station;

	loan->granted--;
	stations--;
	dev_set_promiscuity(dev, -1);
}

static int release_station(struct net_device *upper, struct netdev_nested_priv *priv)
{
	struct loan *loan = priv->data;

	if (!netif_is_macvlan(upper) || macvlan_accel_priv(upper) != loan)
		return 0;
	/* From here on macvlan does it in software, and will not call embedded_del_station. */
	macvlan_release_l2fw_offload(upper);
	embedded_del_station(loan->dev, loan);
	return 0;
}

static void release_stations(struct loan *loan)
{
	struct netdev_nested_priv priv = { .data = loan };

	netdev_walk_all_upper_dev_rcu(loan->dev, release_station, &priv);
}

static int embedded_set_features(struct net_device *dev, netdev_features_t features)
{
	struct loan *loan = loan_of(dev);

	if (!(features & NETIF_F_HW_L2FW_DOFFLOAD)) {
		rcu_read_lock();
		release_stations(loan);
		rcu_read_unlock();
	}
	return loan->before->ndo_set_features(dev, features);
}

static bool is_igb(struct net_device *dev)
{
	return dev->dev.parent && dev_is_pci(dev->dev.parent) && dev->dev.parent->driver &&
	       !strcmp(dev->dev.parent->driver->name, "igb");
}

static void lend(struct net_device *dev)
{
	struct loan *loan = kzalloc(sizeof(*loan), GFP_KERNEL);

	if (!loan)
		return;
	loan->registers = pci_iomap(to_pci_dev(dev->dev.parent), 0, 0);
	if (!loan->registers) {
		kfree(loan);
		return;
	}
	loan->dev = dev;
	loan->before = dev->netdev_ops;
	loan->ops = *dev->netdev_ops;
	loan->ops.ndo_bridge_setlink = embedded_setlink;
	loan->ops.ndo_bridge_getlink = embedded_getlink;
	loan->ops.ndo_dfwd_add_station = embedded_add_station;
	loan->ops.ndo_dfwd_del_station = embedded_del_station;
	loan->ops.ndo_set_features = embedded_set_features;
	dev->netdev_ops = &loan->ops;
	if (!fixed)
		dev->hw_features |= NETIF_F_HW_L2FW_DOFFLOAD;
	list_add(&loan->list, &loans);
	netdev_info(dev, "lent a switch and forwarding stations\n");
}

static void take_back(struct loan *loan)
{
	struct net_device *dev = loan->dev;

	/* Whoever has a station loses it now, as with `ethtool -K … l2-fwd-offload off`. */
	dev->wanted_features &= ~NETIF_F_HW_L2FW_DOFFLOAD;
	netdev_update_features(dev);
	dev->hw_features &= ~NETIF_F_HW_L2FW_DOFFLOAD;
	dev->netdev_ops = loan->before;
	iounmap(loan->registers);
	list_del(&loan->list);
	kfree(loan);
}

static struct loan *find(struct net_device *dev)
{
	struct loan *loan;

	list_for_each_entry(loan, &loans, list)
		if (loan->dev == dev)
			return loan;
	return NULL;
}

static int embedded_event(struct notifier_block *block, unsigned long event, void *info)
{
	struct net_device *dev = netdev_notifier_info_to_dev(info);
	struct loan *loan;

	/* Registering the notifier replays NETDEV_REGISTER for what is there, unregistering it NETDEV_UNREGISTER. */
	if (event == NETDEV_REGISTER && is_igb(dev))
		lend(dev);
	loan = find(dev);
	if (loan && event == NETDEV_UNREGISTER)
		take_back(loan);
	/* igb resets the card when it is put down, and does not know of the mode. */
	else if (loan && event == NETDEV_UP && loan->vepa)
		set_vepa(loan, true);
	return NOTIFY_DONE;
}

static struct notifier_block embedded_notifier = {
	.notifier_call = embedded_event,
	/* After macvlan has let go of its stations. */
	.priority = -100,
};

static int __init embedded_init(void)
{
	return register_netdevice_notifier(&embedded_notifier);
}

static void __exit embedded_exit(void)
{
	unregister_netdevice_notifier(&embedded_notifier);
}

module_init(embedded_init);
module_exit(embedded_exit);
MODULE_DESCRIPTION("Lends QEMU's igb its embedded switch and forwarding stations, for tests");
MODULE_LICENSE("GPL");
