# One worker of a small shop, to be looked into. It knows nothing of whoever looks.
# Arguments: its name, its number, seconds between two lines of its log (0: none).
import select
import sys
import time
import types


class ModelAdmin(object):
    pass


class Site(object):
    def __init__(self):
        self.registry = {}
        self.history = []

    def register(self, model, admin):
        self.registry[model] = admin
        self.history.append("registered %s with %s" % (model, admin))


def autodiscover(site, broken):
    site.register("auth.User", "UserAdmin")
    site.register("shop.Customer", "CustomerAdmin")
    site.register("shop.Order", "OrderAdmin")
    if broken:
        site.history.append("gave up: ImportError: cannot import name 'ProductAdmin'")
        site.register("shop.Product", "ModelAdmin")
    else:
        site.register("shop.Product", "ProductAdmin")
        site.register("shop.Coupon", "CouponAdmin")


def main():
    number, pause = int(sys.argv[2]), float(sys.argv[3])
    shop = sys.modules["shop"] = types.ModuleType("shop")
    admin = sys.modules["shop.admin"] = types.ModuleType("shop.admin")
    shop.admin = admin
    admin.site = Site()
    admin.served = 0
    autodiscover(admin.site, broken=number == 3)
    print("ready")
    sys.stdout.flush()
    # Its standard input ends when the demo does, however that ends.
    while not select.select([0], [], [], pause or None)[0]:
        admin.served += 1
        print("%s worker %d: %d requests served" % (time.strftime("%H:%M:%S"), number, admin.served))
        sys.stdout.flush()


main()
